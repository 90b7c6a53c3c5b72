// The pictures on buttons, drawn in strokes of the colour of the text. They say nothing: the button's label does.

import type { ReactNode } from "react";

function icon(paths: ReactNode) {
  return function Icon() {
    return (
      <svg className="sign" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
        {paths}
      </svg>
    );
  };
}

export const NewChatIcon = icon(<path d="M12 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-6M10 14l1-3.5L18.5 3a1.8 1.8 0 0 1 2.5 2.5L13.5 13z" />);
export const SearchIcon = icon(<path d="m20 20-4.5-4.5M17 10.5a6.5 6.5 0 1 1-13 0 6.5 6.5 0 0 1 13 0z" />);
export const PanelIcon = icon(<path d="M5 4h14a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zm4 0v16" />);
export const MenuIcon = icon(<path d="M4 8h16M4 16h10" />);
export const MoreIcon = icon(<path d="M5 12h.01M12 12h.01M19 12h.01" strokeWidth="3" />);
export const CloseIcon = icon(<path d="M6 6l12 12M18 6 6 18" />);
export const PinIcon = icon(<path d="M12 16v5M8 4h8l-1 6 3 3v3H6v-3l3-3z" />);
export const LibraryIcon = icon(<path d="M5 4h3v16H5zM10 4h3v16h-3zM15.5 5l3-.8L22 19l-3 .8z" />);
export const RunsIcon = icon(<path d="M4 4v16h16M7 15l4-5 3 3 5-7" />);
export const UsageIcon = icon(<path d="M5 20v-7M12 20V4M19 20v-11" />);
export const SettingsIcon = icon(
  <path d="M4 7h10M18 7h2M4 17h2M10 17h10M16 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM8 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z" />,
);
export const KeyboardIcon = icon(<path d="M4 6h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1zm3 4h.01M11 10h.01M15 10h.01M8 14h8" />);
