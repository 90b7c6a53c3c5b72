export function SharedPage({ token }: { token: string }) {
  return <h1>{token}</h1>;
}
