// Loaded together, when the first of them is opened: pages of agents.
import "./common";
export { AgentPage } from "./agent";
export { AgentsPage } from "./agents";
