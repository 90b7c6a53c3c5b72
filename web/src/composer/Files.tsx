import { useTranslation } from "react-i18next";

import { Icon } from "../thread/Icon";
import type { DraftFile, Drafting } from "./draft";

/** The files beside a question that is being written: how far each is, or why it cannot be used. */
export function Files({ drafting, files }: { drafting: Drafting; files: readonly DraftFile[] }) {
  const { t } = useTranslation();
  if (files.length === 0) return null;
  return (
    <ul className="files" aria-label={t("composer.files")}>
      {files.map((file) => (
        <li key={file.key} className={file.problem ? "failed" : ""}>
          <Icon name="file" />
          <span className="name">{file.name}</span>
          <Status file={file} />
          <button type="button" className="quiet" onClick={() => drafting.remove(file.key)} aria-label={t("composer.remove", { name: file.name })}>
            <Icon name="close" />
          </button>
        </li>
      ))}
    </ul>
  );
}

function Status({ file }: { file: DraftFile }) {
  const { t, i18n } = useTranslation();
  if (file.problem) return <span role="alert">{file.problem}</span>;
  if (!file.attachment) {
    // What is sent is still to be made text of.
    const label = t(file.done < 1 ? "composer.uploading" : "composer.reading", { name: file.name });
    return <progress aria-label={label} title={label} {...(file.done < 1 && { value: file.done })} />;
  }
  const characters = new Intl.NumberFormat(i18n.language).format(file.attachment.characters);
  return <span>{t(file.cut ? "composer.characters_cut" : "composer.characters", { characters })}</span>;
}
