// The frame: what is around at the left, one page at a time beside it. Which page is the address's affair.

import { useTranslation } from "react-i18next";
import { Route, Switch } from "wouter";

import { Sidebar } from "./around/Sidebar";
import { Offline } from "./offline/Offline";
import { LibraryPage } from "./pages/LibraryPage";
import { RunsPage } from "./pages/RunsPage";
import { SharedPage } from "./pages/SharedPage";
import { UsagePage } from "./pages/UsagePage";
import { ThreadPage } from "./thread/ThreadPage";

export function App() {
  const { t } = useTranslation();
  return (
    <Switch>
      <Route path="/shared/:token">{({ token }) => <SharedPage token={token} />}</Route>
      <Route>
        <a className="skip" href="#main">
          {t("app.skip")}
        </a>
        <Offline />
        <div className="frame">
          <Sidebar />
          <main id="main" tabIndex={-1}>
            <Switch>
              <Route path="/c/:id">{({ id }) => <ThreadPage id={id} />}</Route>
              <Route path="/library" component={LibraryPage} />
              <Route path="/runs/:name?">{({ name }) => <RunsPage name={name} />}</Route>
              <Route path="/usage" component={UsagePage} />
              <Route>
                <ThreadPage id={null} />
              </Route>
            </Switch>
          </main>
        </div>
      </Route>
    </Switch>
  );
}
