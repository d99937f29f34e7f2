// Of virtio 1.2 §5.1, what the net engine needs: Linux' own header of it cannot be read by a C++ compiler.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tsvmm {

// struct virtio_net_hdr (§5.1.6); the tap reads and writes it, but for num_buffers.
struct NetHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len;
  uint16_t gso_size;
  uint16_t csum_start;
  uint16_t csum_offset;
  uint16_t num_buffers;
};
static_assert(sizeof(NetHeader) == 12);

// Feature bits (§5.1.3).
inline constexpr unsigned kNetGuestTso4 = 7;
inline constexpr unsigned kNetGuestTso6 = 8;
inline constexpr unsigned kNetGuestUfo = 10;
inline constexpr unsigned kNetMergeableBuffers = 15;
inline constexpr unsigned kNetGuestUso4 = 54;
inline constexpr unsigned kNetGuestUso6 = 55;

}  // namespace tsvmm
