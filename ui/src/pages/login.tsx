// Sign-in: a token makes a session of this browser. The token itself is not kept.
import { useEffect, useRef, useState } from "preact/hooks";
import { signedOut } from "../data/request";
import { go, place } from "../data/router";
import { findOut, signIn, who } from "../data/session";
import { Logo } from "../parts/icons";

export function LoginPage() {
  const field = useRef<HTMLInputElement>(null);
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    void findOut();
    field.current?.focus();
  }, []);
  const open = who.value !== null && !signedOut.value;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      await signIn(token.trim());
      setToken("");
      if (place.value.path.endsWith("/login")) go("/ui/");
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
      field.current?.focus();
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="login" id="main">
      <form onSubmit={submit}>
        <span class="brand">
          <Logo />
          broker_mesos
        </span>
        {open ? (
          <>
            <h1>{who.value?.checked ? `Signed in as ${who.value.name}` : "No sign-in is needed here"}</h1>
            <a class="button main" href="/ui/">
              Open the dashboard
            </a>
          </>
        ) : (
          <>
            <h1>Sign in</h1>
            <label class="label">
              Token
              <input ref={field} class="field mono" type="password" autocomplete="current-password" value={token} spellcheck={false} required onInput={(event) => setToken(event.currentTarget.value)} />
            </label>
            {problem && (
              <p class="result bad" role="alert">
                {problem}
              </p>
            )}
            <button type="submit" class="button main" disabled={busy || !token.trim()}>
              {busy ? "Signing in…" : "Sign in"}
            </button>
            <p class="muted">
              A session lasts 12 hours, and ends when the token is revoked. Who keeps the policy file makes tokens: <code class="command">bmesos token create NAME</code>
            </p>
          </>
        )}
      </form>
    </main>
  );
}
