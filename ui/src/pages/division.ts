// Loaded together, when the first of them is opened: pages about how the cluster is divided and run.
import "./common";
export { EventsPage } from "./events";
export { FrameworkPage, FrameworksPage } from "./frameworks";
export { MastersPage } from "./masters";
export { RolesPage } from "./roles";
