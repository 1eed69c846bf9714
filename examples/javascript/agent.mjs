// A JavaScript agent that knows nothing of the bridge: OpenTelemetry's own SDK, and one variable.
//
//   $ npm ci
//   $ OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 node agent.mjs
//   Lisbon.

import { trace } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";

const sdk = new NodeSDK();
sdk.start();
const tracer = trace.getTracer("agent");

await tracer.startActiveSpan("invoke_agent guide", async (run) => {
  run.setAttributes({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "guide", "session.id": "js-1" });
  await tracer.startActiveSpan("chat gpt-4o-mini", async (call) => {
    call.setAttributes({
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "gpt-4o-mini",
      "gen_ai.usage.input_tokens": 12,
      "gen_ai.usage.output_tokens": 2,
    });
    call.end();
  });
  console.log("Lisbon.");
  run.end();
});
await sdk.shutdown();
