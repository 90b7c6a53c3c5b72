// What every page beside the conversation has: a heading, a name in the tab, a column that scrolls.

import { type ReactNode, useEffect } from "react";
import { useTranslation } from "react-i18next";

import "../styles/pages.css";

interface Props {
  title: string;
  /** What it is for. */
  says?: ReactNode;
  children: ReactNode;
}

export function Page({ title, says, children }: Props) {
  const { t } = useTranslation();
  useEffect(() => {
    document.title = `${title} · ${t("app.name")}`;
    return () => {
      document.title = t("app.name");
    };
  }, [title, t]);
  return (
    <div className="page">
      <div className="page-column">
        <h1>{title}</h1>
        {says && <p className="page-says">{says}</p>}
        {children}
      </div>
    </div>
  );
}

/** What went wrong, where it is read out at once. */
export function Wrong({ text }: { text: string }) {
  if (!text) return null;
  return (
    <p className="wrong" role="alert">
      {text}
    </p>
  );
}
