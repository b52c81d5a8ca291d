# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: auto_pickle=False, autotestdict=False, freethreading_compatible=True
"""Huffman-coded weights, decoded by tables.

Private: `opencv_squeezedet.formats.sdz` knows where things lie in a file. What memory safety depends on is checked here: the
code tables are complete and prefix-free, nothing is read past the end of a stream, and no weight lies outside its array.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

LONGEST_CODE = 12
"""Bits of the longest code word: a table for all words of that length fits into the first cache."""

cdef enum:
    LONGEST = 12
    WORDS = 1 << LONGEST
    MOST_SYMBOLS = 256
    SYMBOLS_A_FILL = 4  # of at most 12 bits, out of the 56 that a fill leaves at least

ctypedef fused Value:  # a float32, or a float16's bits
    float
    uint16_t

cdef enum Fault:
    NONE, OUTSIDE, TOO_SHORT, TOO_LONG


# ---- code words ---------------------------------------------------------------------------------------------------------

cdef uint32_t reversed_bits(uint32_t word, int length) noexcept nogil:
    """The word from its other end: streams begin with the lowest bit of a byte, code words with their highest."""
    cdef uint32_t found = 0
    cdef int i
    for i in range(length):
        found = found << 1 | (word >> i & 1)
    return found


cdef bint first_words(const uint8_t* lengths, Py_ssize_t symbols, uint32_t* first) noexcept nogil:
    """The first canonical code word of each length; whether the code is complete: words of all bits, none before another's."""
    cdef Py_ssize_t count[LONGEST + 1]
    cdef Py_ssize_t i
    cdef uint32_t word = 0
    for i in range(LONGEST + 1):
        count[i] = 0
    for i in range(symbols):
        if lengths[i] > LONGEST:
            return False
        count[lengths[i]] += 1
    count[0] = 0
    first[0] = 0
    for i in range(1, LONGEST + 1):
        word = word + <uint32_t>count[i - 1] << 1
        first[i] = word
    return word + count[LONGEST] == WORDS


cdef bint fill_table(const uint8_t* lengths, Py_ssize_t symbols, uint16_t* table) noexcept nogil:
    """For each word of the longest length what it begins with: a symbol, and above its 8 bits the length; False as above."""
    cdef uint32_t first[LONGEST + 1]
    cdef uint32_t word
    cdef Py_ssize_t i
    if not first_words(lengths, symbols, first):
        return False
    for i in range(symbols):
        if lengths[i] == 0:
            continue
        word = reversed_bits(first[lengths[i]], lengths[i])
        first[lengths[i]] += 1
        while word < WORDS:
            table[word] = <uint16_t>(lengths[i] << 8 | i)
            word += 1 << lengths[i]
    return True


# ---- streams ------------------------------------------------------------------------------------------------------------

cdef struct Bits:
    const uint8_t* next
    const uint8_t* end
    uint64_t buffer     # the lowest bit is the next
    int count           # how many of its bits are filled
    Py_ssize_t missing  # how many bytes were taken past the end, as zeros


cdef inline void fill(Bits* bits) noexcept nogil:
    """Leaves at least 56 bits in the buffer."""
    cdef const uint8_t* p = bits.next
    if bits.end - p >= 8:
        bits.buffer |= (<uint64_t>p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
                        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48
                        | <uint64_t>p[7] << 56) << bits.count
        bits.next += (63 - bits.count) >> 3
        bits.count |= 56
        return
    while bits.count < 56:
        if bits.next < bits.end:
            bits.buffer |= <uint64_t>bits.next[0] << bits.count
            bits.next += 1
        else:
            bits.missing += 1
        bits.count += 8


cdef inline int take(Bits* bits, const uint16_t* table) noexcept nogil:
    """The next symbol."""
    cdef uint16_t entry = table[bits.buffer & (WORDS - 1)]
    bits.buffer >>= entry >> 8
    bits.count -= entry >> 8
    return entry & 255


cdef Fault end_of(const Bits* bits) noexcept nogil:
    """What is wrong with the end of a stream: it has to lie in the last byte, with zeros behind it."""
    cdef Py_ssize_t left = 8 * (bits.end - bits.next - bits.missing) + bits.count
    if left < 0:
        return TOO_SHORT
    return TOO_LONG if left >= 8 or bits.buffer & (<uint64_t>1 << left) - 1 else NONE


cdef Bits stream(const uint8_t[::1] content) noexcept nogil:
    cdef Bits bits
    cdef Py_ssize_t size = content.shape[0]
    bits.next = &content[0] if size else NULL
    bits.end = bits.next + size
    bits.buffer = bits.count = bits.missing = 0
    return bits


# ---- weights ------------------------------------------------------------------------------------------------------------

cdef Fault place_weights(Bits codes, Bits gaps, const uint16_t* code_table, const uint16_t* gap_table, bint sparse,
                         const Value* centroids, Py_ssize_t entries, Value* weights, Py_ssize_t length) noexcept nogil:
    """Writes each entry's centroid, a gap behind the entry before it, or directly behind where there are no gaps."""
    cdef Py_ssize_t place = -1
    cdef Py_ssize_t left = entries
    cdef int some, code
    cdef Fault fault
    while left:
        some = <int>min(left, <Py_ssize_t>SYMBOLS_A_FILL)
        left -= some
        fill(&codes)
        if sparse:
            fill(&gaps)
        for _ in range(some):
            code = take(&codes, code_table)
            place += 1
            if sparse:
                place += take(&gaps, gap_table)
            if place >= length:
                return OUTSIDE
            weights[place] = centroids[code]
    fault = end_of(&codes)
    if fault == NONE and sparse:
        fault = end_of(&gaps)
    return fault


def decode(const uint8_t[::1] codes not None, const uint8_t[::1] gaps not None, const uint8_t[::1] code_lengths not None,
           const uint8_t[::1] gap_lengths not None, const Value[::1] centroids not None, Py_ssize_t entries,
           Value[::1] weights not None):
    """Decode one array of shared weights; what is not an entry stays as it is.

    Parameters
    ----------
    codes, gaps : (bytes,) uint8
        Streams of one code word for each entry: its centroid, and how many weights lie between it and the entry before.
    code_lengths, gap_lengths : (symbols,) uint8
        The lengths of the canonical code words, 0 for a symbol without one. Without gap lengths there are no gaps.
    centroids : (symbols,) float32 or uint16
        The value of each code; as uint16 the bits of a float16.
    entries : int
        How many there are.
    weights : (values,) of the centroids' type
        Where they go.

    Raises
    ------
    ValueError
        If a code is not complete, a stream does not end where its entries do, or one lies outside the weights.
    """
    cdef uint16_t code_table[WORDS]
    cdef uint16_t gap_table[WORDS]
    cdef bint sparse = gap_lengths.shape[0] > 0
    cdef Fault fault
    cdef bint complete
    cdef Value* target = &weights[0] if weights.shape[0] else NULL
    if entries < 0:
        raise ValueError(f"a number of entries was expected, got {entries}")
    if not 0 < code_lengths.shape[0] <= MOST_SYMBOLS or gap_lengths.shape[0] > MOST_SYMBOLS:
        raise ValueError(f"1 to {MOST_SYMBOLS} symbols were expected, got {code_lengths.shape[0]} codes and "
                         f"{gap_lengths.shape[0]} gaps")
    if centroids.shape[0] != code_lengths.shape[0]:
        raise ValueError(f"{code_lengths.shape[0]} centroids were expected, got {centroids.shape[0]}")
    with nogil:
        complete = fill_table(&code_lengths[0], code_lengths.shape[0], code_table)
        if complete and sparse:
            complete = fill_table(&gap_lengths[0], gap_lengths.shape[0], gap_table)
        if complete:
            fault = place_weights(stream(codes), stream(gaps), code_table, gap_table, sparse, &centroids[0], entries,
                                  target, weights.shape[0])
    if not complete:
        raise ValueError(f"the lengths of a complete prefix code of at most {LONGEST} bits were expected")
    if fault == OUTSIDE:
        raise ValueError(f"an entry lies outside the {weights.shape[0]} weights")
    if fault != NONE:
        raise ValueError(f"a stream is too {'short' if fault == TOO_SHORT else 'long'} for its {entries} entries")


def words(const uint8_t[::1] lengths not None, uint32_t[::1] found not None):
    """Write the code word of each symbol as a stream has it, the first bit lowest; ValueError as `decode`."""
    cdef uint32_t first[LONGEST + 1]
    cdef Py_ssize_t i
    if not 0 < lengths.shape[0] <= MOST_SYMBOLS or found.shape[0] != lengths.shape[0]:
        raise ValueError(f"1 to {MOST_SYMBOLS} symbols were expected, got {lengths.shape[0]} lengths and "
                         f"{found.shape[0]} words")
    if not first_words(&lengths[0], lengths.shape[0], first):
        raise ValueError(f"the lengths of a complete prefix code of at most {LONGEST} bits were expected")
    for i in range(lengths.shape[0]):
        found[i] = 0
        if lengths[i]:
            found[i] = reversed_bits(first[lengths[i]], lengths[i])
            first[lengths[i]] += 1
