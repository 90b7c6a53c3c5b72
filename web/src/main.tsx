import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import "./around/start";
import "./i18n";
import "./offline/worker";
import "./styles/base.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
