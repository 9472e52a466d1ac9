// Loaded together, when the first of them is opened: pages of jobs and tasks.
import "./common";
export { JobPage } from "./job";
export { JobsPage } from "./jobs";
export { TaskPage } from "./task";
