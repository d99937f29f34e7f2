// CRC-32C (Castagnoli polynomial, RFC 3720 appendix B.4), by the processor's own instruction where that is the quicker
// way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tsvmm {

uint32_t crc32c(std::span<const std::byte> bytes);

// With tables.
uint32_t crc32c_portable(std::span<const std::byte> bytes);

}  // namespace tsvmm
