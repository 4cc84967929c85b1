// Requests to the server: JSON, and streams of server-sent events.

export class Refused extends Error {}

const headers = (key) => ({ "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) });

async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  return new Refused(body.error ? body.error.message : `status ${answer.status}`);
}

/** Return the models of the server. */
export async function models(key) {
  const answer = await fetch("/v1/models", { headers: headers(key) });
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()).data;
}

/** Yield the chunks of a streamed answer as they arrive. */
export async function* stream(path, body, key, signal) {
  const answer = await fetch(path, { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  if (!answer.ok) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.message);
      yield chunk;
    }
  }
}
