// What several pages need is one file, loaded with the first page: a file for every combination of pages would be a dozen
// requests of a kilobyte each. Every group of pages that is loaded later imports this.
import "../data/agents";
import "../data/overview";
import "../data/query";
import "../data/session";
import "../parts/agentmap";
import "../parts/basics";
import "../parts/chart";
import "../parts/dialog";
import "../parts/events";
import "../parts/heatmap";
import "../parts/icons";
import "../parts/jobs";
import "../parts/owners";
import "../parts/shares";
import "../parts/table";
