// What all views share: the project, how the server is, who reviews, and decisions on their way.
import { get, post, Refused, Unreachable, type Progress, type Project, type Status, type Verdict } from "./api";

export interface Word { specimen: string; verdict: Verdict; taxon: string; suggested?: string; probability?: number }

const WORDS: Record<string, string> = {
  "<unknown>": "unknown", "<none>": "not a foraminifer", "<duplicate>": "a duplicate", "<skip>": "skipped",
};
/** A settled name in words: verdicts stand in angle brackets. */
export const spoken = (name: string): string => WORDS[name] ?? name;

class Desk {
  project = $state<Project | null>(null);
  status = $state<Status | null>(null);
  progress = $state<Progress | null>(null);
  connected = $state(true);
  notice = $state("");
  problem = $state("");
  reviewer = $state(localStorage.getItem("reviewer") ?? "");
  /** Names that were given on this page, offered again. */
  given = $state<string[]>([]);
  /** Decisions that the server has not acknowledged; sent again until it does. */
  pending = $state<{ reviewer: string; words: Word[] }[]>([]);
  /** Counts up when names or decisions have changed, for views to look again. */
  version = $state(0);
  private sending = false;

  async open(): Promise<void> {
    this.status = await get<Status>("status");
    this.progress = this.status.progress;
    this.project = await get<Project>("project");
    window.setInterval(() => void this.look(), 2000);
  }

  async look(): Promise<void> {
    try {
      const found = await get<Status>("status");
      const before = this.status;
      this.status = found;
      this.progress = found.progress;
      if (before && (before.model !== found.model || before.naming !== found.naming)) {
        this.project = await get<Project>("project");
        this.version += 1;
      } else if (before && before.progress.settled !== found.progress.settled) {
        this.version += 1;
      }
      if (!this.connected) {
        this.connected = true;
        this.say("The server is back.");
      }
      void this.send();
    } catch (error) {
      this.failed(error);
    }
  }

  say(text: string): void {
    this.notice = text;
    window.setTimeout(() => {
      if (this.notice === text) this.notice = "";
    }, 4000);
  }

  failed(error: unknown): void {
    if (error instanceof Unreachable) this.connected = false;
    else this.problem = error instanceof Error ? error.message : String(error);
  }

  setReviewer(name: string): void {
    this.reviewer = name.trim();
    localStorage.setItem("reviewer", this.reviewer);
  }

  /** Send verdicts; what cannot be sent now waits, in its order, and is sent again. */
  decide(words: Word[]): Promise<void> {
    for (const { taxon } of words) {
      if (taxon && !this.given.includes(taxon)) this.given.push(taxon);
    }
    this.pending.push({ reviewer: this.reviewer, words });
    return this.send();
  }

  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.pending.length) {
        const { reviewer, words } = this.pending[0];
        try {
          const got = await post<{ progress: Progress }>("decisions", { reviewer, decisions: words });
          this.progress = got.progress;
          this.version += 1;
        } catch (error) {
          // What makes no sense to the server never will; all else waits, and is sent again.
          if (!(error instanceof Refused && [400, 404, 422].includes(error.status))) throw error;
          this.failed(error);
        }
        this.pending.shift();
      }
    } catch (error) {
      this.failed(error);
    } finally {
      this.sending = false;
    }
  }

  /** Take back the reviewer's last decision, once nothing waits to be sent. */
  async undo(): Promise<string | null> {
    if (this.pending.length) {
      this.say("Wait until the last decision has reached the server.");
      return null;
    }
    try {
      const got = await post<{ specimen: string | null; name: string | null; count: number; progress: Progress }>(
        "undo", { reviewer: this.reviewer },
      );
      this.progress = got.progress;
      this.version += 1;
      const many = got.count > 1 ? ` for ${got.count} specimens` : "";
      this.say(got.specimen ? `Taken back: ${spoken(got.name ?? "")}${many}` : "There is nothing of yours to take back.");
      return got.specimen;
    } catch (error) {
      this.failed(error);
      return null;
    }
  }

  /** Wait for a kind of long work to end; returns what it says, or null when it failed. */
  async finished(kind: string): Promise<string | null> {
    for (;;) {
      await new Promise((resolve) => window.setTimeout(resolve, 400));
      await this.look();
      const job = this.status?.jobs[kind];
      if (!this.connected) continue;
      if (!job) {
        this.problem = "The server was started again; ask for it once more.";
        return null;
      }
      if (job.state === "done") return job.says;
      if (job.state === "failed") {
        this.problem = job.says;
        return null;
      }
    }
  }

  /** All names to choose from: those the model knows first. */
  get names(): string[] {
    const project = this.project;
    if (!project) return [];
    return [...new Set([...project.taxa, ...this.given, ...project.taxonomy])];
  }
}

export const desk = new Desk();
