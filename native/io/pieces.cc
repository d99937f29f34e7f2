#include "io/pieces.h"

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {

template <typename Use>
size_t walk_pieces(std::span<const iovec> pieces, size_t offset, size_t length, Use&& use) {
  size_t done = 0;
  for (const auto& piece : pieces) {
    if (done == length) break;
    if (offset >= piece.iov_len) {
      offset -= piece.iov_len;
      continue;
    }
    const auto bytes = std::min(piece.iov_len - offset, length - done);
    use(static_cast<std::byte*>(piece.iov_base) + offset, done, bytes);
    done += bytes;
    offset = 0;
  }
  return done;
}

}  // namespace

size_t bytes_of(std::span<const iovec> pieces) {
  size_t bytes = 0;
  for (const auto& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

size_t copy_from_pieces(std::span<const iovec> pieces, size_t offset, void* target, size_t length) {
  auto* bytes = static_cast<std::byte*>(target);
  return walk_pieces(pieces, offset, length, [&](const std::byte* piece, size_t done, size_t count) {
    std::memcpy(bytes + done, piece, count);
  });
}

size_t copy_to_pieces(std::span<const iovec> pieces, size_t offset, const void* source, size_t length) {
  const auto* bytes = static_cast<const std::byte*>(source);
  return walk_pieces(pieces, offset, length,
                     [&](std::byte* piece, size_t done, size_t count) { std::memcpy(piece, bytes + done, count); });
}

size_t clear_pieces(std::span<const iovec> pieces, size_t offset, size_t length) {
  return walk_pieces(pieces, offset, length,
                     [](std::byte* piece, size_t, size_t count) { std::memset(piece, 0, count); });
}

void add_part(std::vector<iovec>& part, std::span<const iovec> pieces, size_t offset, size_t length) {
  walk_pieces(pieces, offset, length, [&](std::byte* piece, size_t, size_t count) { part.push_back({piece, count}); });
}

}  // namespace tsvmm
