import "uplot/dist/uPlot.min.css";
import "./tokens.css";
import "./base.css";
import { render, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { signedOut } from "./data/request";
import { listen, parts } from "./data/router";
import { findOut } from "./data/session";
import { Empty } from "./parts/basics";
import { Shell } from "./parts/shell";
import { AgentPage } from "./pages/agent";
import { AgentsPage } from "./pages/agents";
import { ClusterPage } from "./pages/cluster";
import { EventsPage } from "./pages/events";
import { FrameworkPage, FrameworksPage } from "./pages/frameworks";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { KitPage } from "./pages/kit";
import { LoginPage } from "./pages/login";
import { MastersPage } from "./pages/masters";
import { RolesPage } from "./pages/roles";
import { TaskPage } from "./pages/task";

function page(name: string, id: string | undefined): [string, ComponentChildren] {
  switch (name) {
    case "":
      return ["Cluster", <ClusterPage />];
    case "agents":
      return id ? [id, <AgentPage key={id} id={id} />] : ["Agents", <AgentsPage />];
    case "jobs":
      return id ? [id, <JobPage key={id} id={id} />] : ["Jobs", <JobsPage />];
    case "tasks":
      if (id) return [id, <TaskPage key={id} id={id} />];
      break;
    case "roles":
      return ["Roles", <RolesPage />];
    case "frameworks":
      return id ? [id, <FrameworkPage key={id} id={id} />] : ["Frameworks", <FrameworksPage />];
    case "masters":
      return ["Masters", <MastersPage />];
    case "events":
      return ["Events", <EventsPage />];
    case "kit":
      return ["Kit", <KitPage />];
  }
  return ["Not found", <Empty title="There is no such page">The pages are in the list on the left.</Empty>];
}

function App() {
  const [name, id] = [parts.value[0] ?? "", parts.value[1]];
  const [title, content] = signedOut.value || name === "login" ? ["Sign in", null] : page(name, id);
  useEffect(() => {
    document.title = `${title} · broker_mesos`;
  }, [title]);
  return content === null ? <LoginPage /> : <Shell>{content}</Shell>;
}

listen();
void findOut();
render(<App />, document.getElementById("app")!);
