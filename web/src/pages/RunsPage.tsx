export function RunsPage({ name }: { name?: string }) {
  return <h1>{name}</h1>;
}
