/** One conversation; id null is one that has not begun. */
export function ThreadPage({ id }: { id: string | null }) {
  return <h1>{id}</h1>;
}
