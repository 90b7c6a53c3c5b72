// Deleting a conversation at once, with a while to take it back.

import i18next from "i18next";
import { navigate } from "wouter/use-browser-location";

import { remove as removeHere } from "../device/lines";
import { isHere } from "../device/store";
import { remove, restore } from "./conversations";
import { problemOf } from "../problem";
import { notify } from "./toasts";

export async function deleteWithUndo({ id, title }: { id: string; title: string }): Promise<void> {
  const shown = location.pathname === `/c/${id}`;
  if (shown) navigate("/");
  let back = () => restore(id);
  try {
    if (isHere(id)) back = await removeHere(id);
    else await remove(id);
  } catch (error) {
    notify(problemOf(error));
    return;
  }
  const undo = async () => {
    try {
      await back();
      if (shown) navigate(`/c/${id}`);
    } catch (error) {
      notify(problemOf(error));
    }
  };
  notify(i18next.t("around.deleted", { title }), { label: i18next.t("around.undo"), run: () => void undo() });
}
