// Every key that does something, as a list.

import { useTranslation } from "react-i18next";

import { Dialog } from "./Dialog";
import { MAC } from "./shortcuts";

export function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const command = MAC ? "⌘" : t("shortcuts.control");
  const shift = MAC ? "⇧" : t("shortcuts.shift");
  const keys: [string, string[]][] = [
    [t("shortcuts.search"), [command, "K"]],
    [t("shortcuts.newChat"), [command, shift, "O"]],
    [t("shortcuts.sidebar"), [command, shift, "S"]],
    [t("shortcuts.delete"), [command, shift, "⌫"]],
    [t("shortcuts.send"), [t("shortcuts.enter")]],
    [t("shortcuts.line"), [shift, t("shortcuts.enter")]],
    [t("shortcuts.stop"), ["Esc"]],
    [t("shortcuts.help"), ["?"]],
  ];
  return (
    <Dialog title={t("shortcuts.title")} onClose={onClose}>
      <dl className="keys">
        {keys.map(([what, pressed]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              {pressed.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
