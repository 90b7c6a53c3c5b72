// Links of a model's text: only to the web and to mail, into a new tab that learns nothing of this one, and with their
// host beside them where the text does not say it. Everything else is text.

import type { ReactNode } from "react";

/** The address as it may be opened, or null. */
export function safeAddress(address: string | undefined): URL | null {
  if (!address || !/^(https?:\/\/|mailto:)/i.test(address)) return null;
  try {
    return new URL(address);
  } catch {
    return null;
  }
}

export function Link({ href, text, children }: { href: string | undefined; text: string; children?: ReactNode }) {
  const url = safeAddress(href);
  if (url === null) return <>{children ?? text}</>;
  const where = url.protocol === "mailto:" ? url.pathname : url.host.replace(/^www\./, "");
  return (
    <>
      <a href={url.href} target="_blank" rel="noopener noreferrer" title={url.href}>
        {children ?? (text || where)}
      </a>
      {!text.toLowerCase().includes(where.toLowerCase()) && text && <span className="host"> ({where})</span>}
    </>
  );
}
