// What is around every page: at the left on wide screens, foldable; on narrow ones a header, and a drawer behind it.
// The dialogs and notices that it opens are rendered here, too.

import { type ReactNode, type TouchEvent, useEffect, useLayoutEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { Link, useLocation, useRoute } from "wouter";

import "../styles/around.css";
import { useServerState } from "../state";
import { threadOf } from "../thread/thread";
import { ConversationList } from "./ConversationList";
import { useConversations, useReading } from "./conversations";
import { isBeside } from "./Dialog";
import { LibraryIcon, MenuIcon, NewChatIcon, PanelIcon, RunsIcon, SearchIcon, SettingsIcon, UsageIcon } from "./icons";
import { DeviceDialog } from "../device/DeviceDialog";
import { useLines } from "../device/lines";
import { KeyDialog } from "./KeyDialog";
import { SettingsDialog } from "./SettingsDialog";
import { ShareDialog } from "./ShareDialog";
import { ShortcutsDialog } from "./ShortcutsDialog";
import { goToSearch, open, showDrawer, showSidebar, useShown, useWide } from "./shown";
import { useShortcuts } from "./shortcuts";
import { Toasts } from "./toasts";

const SWIPE_PX = 60;

export function Sidebar() {
  const wide = useWide();
  const { sidebar, drawer } = useShown();
  useShortcuts();
  useReading();
  return (
    <>
      {wide ? sidebar ? <Whole /> : <Rail /> : <Header />}
      {!wide && drawer && <Drawer />}
      {(wide || !drawer) && <Toasts />}
      <Dialogs />
    </>
  );
}

function Dialogs() {
  const { dialog } = useShown();
  const close = () => open(null);
  return (
    <>
      {dialog?.name === "settings" && <SettingsDialog onClose={close} />}
      {dialog?.name === "shortcuts" && <ShortcutsDialog onClose={close} />}
      {dialog?.name === "device" && <DeviceDialog onClose={close} />}
      {dialog?.name === "share" && <ShareDialog id={dialog.id} onClose={close} />}
      <KeyDialog />
    </>
  );
}

function Whole() {
  const { t } = useTranslation();
  return (
    <nav className="sidebar" aria-label={t("around.sidebar")}>
      <div className="sidebar-head">
        <Link href="/" className="brand">
          {t("app.name")}
        </Link>
        <button type="button" className="square" aria-label={t("around.hide")} onClick={() => showSidebar(false)}>
          <PanelIcon />
        </button>
      </div>
      <Inside />
    </nav>
  );
}

/** The sidebar folded: what one reaches for most, as pictures. */
function Rail() {
  const { t } = useTranslation();
  return (
    <nav className="rail" aria-label={t("around.sidebar")}>
      <button type="button" className="square" aria-label={t("around.show")} onClick={() => showSidebar(true)}>
        <PanelIcon />
      </button>
      <Link href="/" className="square" aria-label={t("around.newChat")}>
        <NewChatIcon />
      </Link>
      <button type="button" className="square" aria-label={t("around.search")} onClick={goToSearch}>
        <SearchIcon />
      </button>
    </nav>
  );
}

function Header() {
  const { t } = useTranslation();
  const { drawer } = useShown();
  return (
    <header className="top">
      <button
        type="button"
        className="square"
        aria-label={t("around.menu")}
        aria-haspopup="dialog"
        aria-expanded={drawer}
        onClick={() => showDrawer(true)}
      >
        <MenuIcon />
      </button>
      <span className="top-title">
        <Title />
      </span>
      <Link href="/" className="square" aria-label={t("around.newChat")}>
        <NewChatIcon />
      </Link>
    </header>
  );
}

/** What the page that is shown is called. */
function Title() {
  const { t } = useTranslation();
  const [path] = useLocation();
  const [, route] = useRoute("/c/:id");
  if (route) return <ConversationTitle id={route.id} />;
  if (path === "/library") return t("library.title");
  if (path.startsWith("/runs")) return t("runs.title");
  return path === "/usage" ? t("usage.title") : t("app.name");
}

/** As the list has it, which knows of a new name at once; else as the conversation itself does. */
function ConversationTitle({ id }: { id: string }) {
  const thread = useMemo(() => threadOf(id), [id]);
  const title = useSyncExternalStore(thread.subscribe, () => thread.view.title);
  const { lines } = useConversations();
  const here = useLines();
  return [...here, ...lines].find((line) => line.id === id)?.title || title;
}

/** A modal dialog at the left edge: a tap beside it, a swipe to the left, Esc and a link in it close it. Deleting what is
 * shown does not, though it leads elsewhere: whoever tidies up goes on with that.
 */
function Drawer() {
  const { t } = useTranslation();
  const ref = useRef<HTMLDialogElement>(null);
  const from = useRef<{ x: number; y: number } | null>(null);
  const close = () => showDrawer(false);
  useLayoutEffect(() => {
    const dialog = ref.current!;
    dialog.showModal();
    return () => dialog.close(); // before it is taken out, for only then does the focus go back
  }, []);
  useEffect(() => {
    addEventListener("popstate", close); // the way back that phones have
    return () => removeEventListener("popstate", close);
  }, []);
  const swiped = (event: TouchEvent) => {
    const [start, end] = [from.current, event.changedTouches[0]!];
    if (start && start.x - end.clientX > Math.max(SWIPE_PX, 2 * Math.abs(end.clientY - start.y))) close();
  };
  return (
    <dialog
      ref={ref}
      className="drawer"
      aria-label={t("around.sidebar")}
      onClose={() => ref.current?.open || close()}
      onPointerDown={(event) => isBeside(event) && close()}
      onClick={(event) => (event.target as Element).closest("a[href]") && close()}
      onTouchStart={({ touches }) => (from.current = { x: touches[0]!.clientX, y: touches[0]!.clientY })}
      onTouchEnd={swiped}
    >
      <nav className="sidebar" aria-label={t("around.sidebar")}>
        <div className="sidebar-head">
          <Link href="/" className="brand">
            {t("app.name")}
          </Link>
          <button type="button" className="square" aria-label={t("around.closeMenu")} onClick={close}>
            <PanelIcon />
          </button>
        </div>
        <Inside />
      </nav>
      <Toasts />
    </dialog>
  );
}

function Inside() {
  const { t } = useTranslation();
  return (
    <>
      <Link href="/" className="entry">
        <NewChatIcon />
        {t("around.newChat")}
      </Link>
      <ConversationList />
      <Foot />
    </>
  );
}

function Foot() {
  const { t } = useTranslation();
  const { state } = useServerState();
  const [path] = useLocation();
  const entry = (href: string, label: string, icon: ReactNode) => (
    <Link href={href} className="entry" aria-current={path.startsWith(href) ? "page" : undefined}>
      {icon}
      {label}
    </Link>
  );
  return (
    <div className="sidebar-foot">
      {/* It comes with the server's state: above the others, which would else move up from under a finger. */}
      {state?.runs && entry("/runs", t("runs.title"), <RunsIcon />)}
      {entry("/library", t("library.title"), <LibraryIcon />)}
      {entry("/usage", t("usage.title"), <UsageIcon />)}
      <button type="button" className="entry" onClick={() => open({ name: "settings" })}>
        <SettingsIcon />
        {t("settings.title")}
      </button>
    </div>
  );
}
