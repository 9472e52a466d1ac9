import "uplot/dist/uPlot.min.css";
import "./tokens.css";
import "./base.css";
import { render, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { signedOut } from "./data/request";
import { listen, parts } from "./data/router";
import { findOut } from "./data/session";
import { Empty } from "./parts/basics";
import { Later, loadWhenIdle } from "./parts/later";
import { Shell } from "./parts/shell";
import "./pages/common";
import { ClusterPage } from "./pages/cluster";
import { LoginPage } from "./pages/login";

const places = () => import("./pages/places");
const work = () => import("./pages/work");
const division = () => import("./pages/division");
const kit = () => import("./pages/kit");

function page(name: string, id: string | undefined): [string, ComponentChildren] {
  switch (name) {
    case "":
      return ["Cluster", <ClusterPage />];
    case "agents":
      return id
        ? [id, <Later loader={places}>{({ AgentPage }) => <AgentPage key={id} id={id} />}</Later>]
        : ["Agents", <Later loader={places}>{({ AgentsPage }) => <AgentsPage />}</Later>];
    case "jobs":
      return id
        ? [id, <Later loader={work}>{({ JobPage }) => <JobPage key={id} id={id} />}</Later>]
        : ["Jobs", <Later loader={work}>{({ JobsPage }) => <JobsPage />}</Later>];
    case "tasks":
      if (id) return [id, <Later loader={work}>{({ TaskPage }) => <TaskPage key={id} id={id} />}</Later>];
      break;
    case "roles":
      return ["Roles", <Later loader={division}>{({ RolesPage }) => <RolesPage />}</Later>];
    case "frameworks":
      return id
        ? [id, <Later loader={division}>{({ FrameworkPage }) => <FrameworkPage key={id} id={id} />}</Later>]
        : ["Frameworks", <Later loader={division}>{({ FrameworksPage }) => <FrameworksPage />}</Later>];
    case "masters":
      return ["Masters", <Later loader={division}>{({ MastersPage }) => <MastersPage />}</Later>];
    case "events":
      return ["Events", <Later loader={division}>{({ EventsPage }) => <EventsPage />}</Later>];
    case "kit":
      return ["Kit", <Later loader={kit}>{({ KitPage }) => <KitPage />}</Later>];
  }
  return ["Not found", <Empty title="There is no such page">The pages are in the list on the left.</Empty>];
}

function App() {
  const [name, id] = [parts.value[0] ?? "", parts.value[1]];
  const signIn = signedOut.value || name === "login";
  const [title, content] = signIn ? ["Sign in", null] : page(name, id);
  useEffect(() => {
    document.title = `${title} · broker_mesos`;
  }, [title]);
  useEffect(() => {
    if (!signIn) loadWhenIdle(places, work, division);
  }, [signIn]);
  return content === null ? <LoginPage /> : <Shell>{content}</Shell>;
}

listen();
void findOut();
render(<App />, document.getElementById("app")!);
