// Numbers in files that have an order of bytes of their own.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tsvmm {

template <typename Number>
Number swap_bytes(Number value) {
  if constexpr (sizeof(Number) == 8) return static_cast<Number>(__builtin_bswap64(value));
  if constexpr (sizeof(Number) == 4) return static_cast<Number>(__builtin_bswap32(value));
  if constexpr (sizeof(Number) == 2) return static_cast<Number>(__builtin_bswap16(value));
  return value;
}

template <typename Number>
Number load_big_endian(const std::byte* bytes) {
  Number value;
  std::memcpy(&value, bytes, sizeof(value));
  return std::endian::native == std::endian::little ? swap_bytes(value) : value;
}

template <typename Number>
void store_big_endian(std::byte* bytes, Number value) {
  if (std::endian::native == std::endian::little) value = swap_bytes(value);
  std::memcpy(bytes, &value, sizeof(value));
}

template <typename Number>
Number load_little_endian(const std::byte* bytes) {
  Number value;
  std::memcpy(&value, bytes, sizeof(value));
  return std::endian::native == std::endian::big ? swap_bytes(value) : value;
}

template <typename Number>
void store_little_endian(std::byte* bytes, Number value) {
  if (std::endian::native == std::endian::big) value = swap_bytes(value);
  std::memcpy(bytes, &value, sizeof(value));
}

}  // namespace tsvmm
