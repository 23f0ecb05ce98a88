"""The status of our kinds on the wire."""

from typing import Annotated, Literal

from msgspec import Meta

from nodewall.api.parsed import Wire

Timestamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Condition(Wire, frozen=True):
    """One aspect of the present state."""

    type: Annotated[str, Meta(description="What the condition is about.")]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether it holds.")]
    reason: Annotated[str, Meta(description="Why, in one word for programs.")]
    message: Annotated[str, Meta(description="Why, for people.")]
    last_transition_time: Annotated[Timestamp, Meta(description="When the status changed last.")]
    observed_generation: Annotated[int | None, Meta(description="The metadata.generation that this is about.")] = None


ObservedGeneration = Annotated[int | None, Meta(description="The metadata.generation that this status is about.")]


class NodeRuleSetStatus(Wire, frozen=True):
    """What the node enforces. Written by the node's agent."""

    observed_generation: ObservedGeneration = None
    applied_digest: Annotated[str | None, Meta(description="Digest of the spec that the kernel enforces.")] = None
    applied_at: Annotated[Timestamp | None, Meta(description="When the kernel took it.")] = None
    pods: Annotated[int | None, Meta(description="Pods of the node that are enforced or guarded.")] = None
    policies: Annotated[int | None, Meta(description="Policies that concern these pods.")] = None
    rules: Annotated[int | None, Meta(description="Rules of these policies.")] = None
    addresses: Annotated[int | None, Meta(description="Addresses in all address groups.")] = None
    applied_groups: Annotated[int | None, Meta(description="Revision of the PeerGroups that is enforced.")] = None
    conditions: Annotated[
        list[Condition] | None,
        Meta(description="Applied: the spec is enforced. Degraded: something may bypass what is enforced."),
    ] = None


class NodeCounts(Wire, frozen=True):
    """Nodes that own pods of a policy."""

    desired: Annotated[int, Meta(description="Nodes that own selected pods.")]
    programmed: Annotated[int, Meta(description="Those of them that enforce this generation or a later one.")]


class PolicyStatus(Wire, frozen=True):
    """What became of the policy. Written by the controller."""

    observed_generation: ObservedGeneration = None
    selected_pods: Annotated[int | None, Meta(description="Pods that the policy is about.")] = None
    nodes: Annotated[NodeCounts | None, Meta(description="How far the policy has reached the nodes.")] = None
    conditions: Annotated[
        list[Condition] | None,
        Meta(
            description="Accepted: every part could be read. Programmed: every node that owns a selected pod enforces "
            "it. Conflicted: another policy of equal priority comes first."
        ),
    ] = None
