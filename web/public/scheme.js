// Before anything is painted: the scheme that was chosen, light or dark. A script of its own, for the policy forbids
// those within the page; src/around/scheme.ts writes what this reads.
{
  const chosen = localStorage.getItem("denken.scheme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.scheme = chosen;
}
