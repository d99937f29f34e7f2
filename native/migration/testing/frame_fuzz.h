// For tests: frames with changes at random places, most of them with the checksum that belongs to them.
// TSVMM_FUZZ_SECONDS and TSVMM_FUZZ_SEED say for how long, and which ones.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "migration/frame.h"
#include "migration/testing/transfer.h"
#include "sys/crc32c.h"

namespace tsvmm::testing {

class FrameFuzz {
 public:
  using Frames = std::vector<std::vector<std::byte>>;

  // Calls `round` with a number again and again; what fails is told with the seed.
  static void run(const std::function<void(FrameFuzz&)>& round) {
    const char* wanted_seed = std::getenv("TSVMM_FUZZ_SEED");
    const char* wanted_seconds = std::getenv("TSVMM_FUZZ_SECONDS");
    const uint64_t seed = wanted_seed == nullptr ? 1 : std::strtoull(wanted_seed, nullptr, 10);
    const auto seconds = wanted_seconds == nullptr ? 2 : std::strtoll(wanted_seconds, nullptr, 10);
    SCOPED_TRACE(::testing::Message() << "TSVMM_FUZZ_SEED=" << seed);
    FrameFuzz fuzz(seed);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    for (uint64_t count = 0; std::chrono::steady_clock::now() < end && !::testing::Test::HasFailure(); ++count) {
      SCOPED_TRACE(::testing::Message() << "round " << count);
      round(fuzz);
    }
  }

  uint64_t below(uint64_t limit) { return random_() % limit; }

  // Some of them, changed, as one stream.
  std::vector<std::byte> mutated(const Frames& frames) {
    std::vector<std::byte> stream;
    uint64_t sequence = 0;
    for (auto frame : frames) {
      if (below(16) == 0) continue;
      const auto copies = below(16) == 0 ? 2 : 1;
      if (below(3) == 0) change(frame);
      for (int copy = 0; copy < copies; ++copy) {
        if (below(32) != 0) seal(frame, sequence++);
        stream.insert(stream.end(), frame.begin(), frame.end());
      }
    }
    if (below(8) == 0) stream.resize(below(stream.size() + 1));
    return stream;
  }

  // What somebody has written, frame by frame.
  static Frames split(std::span<const std::byte> bytes) {
    Frames frames;
    while (bytes.size() >= sizeof(FrameHeader)) {
      FrameHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      const auto frame = bytes.first(sizeof header + header.payload_bytes);
      frames.emplace_back(frame.begin(), frame.end());
      bytes = bytes.subspan(frame.size());
    }
    return frames;
  }

 private:
  explicit FrameFuzz(uint64_t seed) : random_(seed) {}

  void change(std::vector<std::byte>& frame) {
    for (auto left = 1 + below(3); left > 0; --left) {
      // As often in the header and the masks as in all the rest.
      const auto reach =
          below(2) == 0 ? std::min<size_t>(frame.size(), sizeof(FrameHeader) + kMasksBytes) : frame.size();
      const auto place = below(reach);
      constexpr uint8_t kTelling[] = {0, 1, 2, 4, 0x7f, 0x80, 0xff};
      frame[place] = static_cast<std::byte>(below(2) == 0 ? kTelling[below(std::size(kTelling))] : random_());
    }
    if (below(8) == 0) frame.resize(sizeof(FrameHeader) + below(frame.size() - sizeof(FrameHeader) + 1));
  }

  // As a writer would have it: also its length, most of the time.
  void seal(std::vector<std::byte>& frame, uint64_t sequence) {
    FrameHeader header;
    std::memcpy(&header, frame.data(), sizeof header);
    if (below(16) != 0) header.magic = kFrameMagic;
    if (below(16) != 0) header.payload_bytes = static_cast<uint32_t>(frame.size() - sizeof header);
    header.sequence = sequence;
    std::memcpy(frame.data(), &header, sizeof header);
    header.checksum = crc32c(std::span(frame).subspan(offsetof(FrameHeader, checksum) + sizeof header.checksum));
    std::memcpy(frame.data(), &header, sizeof header);
  }

  std::mt19937_64 random_;
};

// All that comes until the end, in a thread of its own.
inline std::future<std::vector<std::byte>> all_of(UniqueFd socket) {
  return std::async(std::launch::async, [socket = std::move(socket)] {
    std::vector<std::byte> bytes;
    std::vector<std::byte> piece(1 << 16);
    for (ssize_t got = 0; (got = recv(socket.get(), piece.data(), piece.size(), 0)) > 0;) {
      bytes.insert(bytes.end(), piece.begin(), piece.begin() + got);
    }
    return bytes;
  });
}

// Also where nobody reads it to the end; more than a socket takes at once.
inline std::future<void> write_all(int socket, std::vector<std::byte> bytes) {
  return std::async(std::launch::async, [socket, bytes = std::move(bytes)] {
    for (std::span<const std::byte> left = bytes; !left.empty();) {
      const auto sent = send(socket, left.data(), left.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      left = left.subspan(static_cast<size_t>(sent));
    }
    shutdown(socket, SHUT_WR);
  });
}

}  // namespace tsvmm::testing
