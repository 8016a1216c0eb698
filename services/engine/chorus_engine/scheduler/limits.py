"""What can never be served, refused at the door."""

from chorus_engine.core.errors import AdapterUnusable, InvalidRequest, StartError
from chorus_engine.core.request import Request
from chorus_engine.core.spec import OUTER_LAYER, AdapterFootprint, Capacity


def check_capacity(capacity: Capacity) -> None:
    """Raises StartError for a capacity that could not run one step of every row."""
    if capacity.max_num_batched_tokens < capacity.max_num_seqs:
        raise StartError(
            f"max_num_batched_tokens is {capacity.max_num_batched_tokens}, less than max_num_seqs "
            f"{capacity.max_num_seqs}; raise the first or lower the second"
        )
    if capacity.num_blocks < 1:
        raise StartError(f"the KV cache has {capacity.num_blocks} blocks; give it memory for at least one")


def check_request(request: Request, capacity: Capacity) -> None:
    """Raises InvalidRequest for what will not fit this engine even when it is empty."""
    prompt, output = len(request.prompt), request.sampling.max_tokens
    if not prompt or output < 0:
        raise InvalidRequest(f"a prompt of {prompt} tokens and max_tokens {output}: at least 1 and at least 0 must be")
    if prompt + output > capacity.max_model_len:
        raise InvalidRequest(
            f"a prompt of {prompt} tokens and max_tokens {output} make {prompt + output}, over the context length of "
            f"{capacity.max_model_len}; shorten the prompt or lower max_tokens"
        )
    blocks = -(-(prompt + max(output, 1) - 1) // capacity.block_size)  # the last token is never computed
    if blocks > capacity.num_blocks:
        raise InvalidRequest(
            f"a prompt of {prompt} tokens and max_tokens {output} need {blocks} KV blocks and the engine has "
            f"{capacity.num_blocks}; shorten the prompt or lower max_tokens"
        )
    if request.adapter is not None and not capacity.max_adapters:
        raise InvalidRequest("this engine serves no adapters (it has 0 adapter slots); ask for the base model")


def check_adapter(footprint: AdapterFootprint, capacity: Capacity) -> None:
    """Raises AdapterUnusable for an adapter larger than the empty pool."""
    for layer, module, rank in footprint.ranks:
        outer = layer == OUTER_LAYER
        rows = (capacity.vocab_pages if outer else capacity.adapter_pages) * capacity.adapter_page_rows
        if rank > rows:
            name, setting = (
                (module, "max_vocab_adapters") if outer else (f"layers.{layer}.{module}", "adapter_pool_memory")
            )
            raise AdapterUnusable(
                f"adapter {footprint.digest} has rank {rank} in {name} and the adapter pool holds {rows}; upload a "
                f"smaller rank or raise {setting}"
            )
