// CRC-32C (Castagnoli polynomial, RFC 3720 appendix B.4), by the processor's own instruction where it has one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tsvmm {

uint32_t crc32c(std::span<const std::byte> bytes);

// What it falls back to.
uint32_t crc32c_portable(std::span<const std::byte> bytes);

}  // namespace tsvmm
