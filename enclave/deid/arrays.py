"""Arrays of numbers that stay as bytes: whether they have the size that their header promises.

Sources: PS3.3 C.7.6.3.1.5 and C.11.1.1 (descriptors of lookup tables), C.10.9 (waveforms).
"""

from __future__ import annotations

import struct

from enclave.deid.tree import NUMBER_FORMS, Node, number_at, numbers

# By lookup table its descriptor: entries, what the first is for, bits.
_DESCRIPTORS = {0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103, 0x00283006: 0x00283002}
_SEGMENTED = frozenset({0x00281221, 0x00281222, 0x00281223})  # how long they are stands in their own bytes
_WAVEFORM, _CHANNELS, _SAMPLES, _SAMPLE_BITS = 0x54001010, 0x003A0005, 0x003A0010, 0x54001004
_ALL_ENTRIES = 1 << 16  # which the 16 bits of a descriptor spell as zero
KEPT_ARRAYS = frozenset({*_DESCRIPTORS, *_SEGMENTED, _WAVEFORM})  # an image or a curve cannot be shown without


def fits(tag: int, node: Node) -> bool:
    """Whether the array at ``tag`` has the size that ``node`` promises; of others than ``KEPT_ARRAYS`` none does."""
    value = node[tag][1]
    if not isinstance(value, bytes):
        return False
    if tag in _SEGMENTED:
        return len(value) % 2 == 0
    try:
        sizes = _waveform_sizes(node) if tag == _WAVEFORM else _table_sizes(tag, node)
    except (ValueError, struct.error):  # no numbers
        return False
    return len(value) in {size + pad for size in sizes for pad in (0, size % 2)}


def _waveform_sizes(node: Node) -> tuple[int, ...]:
    channels, samples, bits = (number_at(node, tag) or 0 for tag in (_CHANNELS, _SAMPLES, _SAMPLE_BITS))
    return (channels * samples * (bits // 8),) if bits % 8 == 0 else ()


def _table_sizes(tag: int, node: Node) -> tuple[int, ...]:
    """An entry takes one byte or two, whatever its bits: makers differ."""
    descriptor = node.get(_DESCRIPTORS.get(tag, 0), ("", b""))
    if descriptor[0] not in NUMBER_FORMS:
        return ()
    found = numbers(descriptor, little=node.little)
    if len(found) != 3:
        return ()
    entries = int(found[0]) & 0xFFFF or _ALL_ENTRIES
    return entries, 2 * entries
