"""What a client runs. Secure aggregation is the `mods=` argument, and nothing else."""

from __future__ import annotations

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from task import digits, from_record, to_record, trained

from protocols.adapters.flower import secure_aggregation_mod

app = ClientApp(mods=[secure_aggregation_mod])


@app.train()
def train(message: Message, context: Context) -> Message:
    """An ordinary Flower training function."""
    partition = int(context.node_config["partition-id"])
    examples = digits(context.run_config).clients[partition + 1]
    weights = trained(from_record(message.content["arrays"]), examples, context.run_config)
    reply = RecordDict(
        {"arrays": to_record(weights), "metrics": MetricRecord({"num-examples": len(examples)})}
    )
    return Message(reply, reply_to=message)
