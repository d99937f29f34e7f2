// A block of device registers in guest address space, answered from shared bytes and spans. src/bus/registers.ts says
// what the rules mean.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "sys/result.h"

namespace tsvmm {

struct RegisterSpan {
  enum class Read : uint8_t { kBytes, kClock, kEcam, kIndexed, kTrap };
  enum class Write : uint8_t { kBytes, kPost, kIgnore, kEcam, kChange, kTrap };

  uint32_t offset = 0;
  uint32_t length = 0;
  Read read = Read::kTrap;
  Write write = Write::kTrap;
  std::vector<uint8_t> mask;  // one byte per byte of the span, or of its table, or empty: all writable
  uint64_t clock_hertz = 0;
  uint32_t clock_bits = 0;
  uint64_t ecam_address = 0;
  uint32_t ecam_buses = 0;
  uint32_t table_offset = 0;
  uint32_t table_entries = 0;
};

// A counter that follows the monotonic clock.
class TickCounter {
 public:
  // Any thread.
  uint64_t ticks(uint64_t hertz) const;
  void set(uint64_t ticks);

 private:
  // ticks() = anchor_ticks + (now - anchor_ns) in ticks
  mutable std::mutex mutex_;
  uint64_t anchor_ticks_ = 0;
  uint64_t anchor_ns_ = 0;
};

class Window {
 public:
  using Spans = std::shared_ptr<const std::vector<RegisterSpan>>;

  // `bytes` must outlive every vCPU that may have seen the window. EINVAL where spans overlap, are not ascending or
  // leave the window.
  static Result<std::shared_ptr<Window>> create(uint32_t id, std::span<uint8_t> bytes, std::vector<RegisterSpan> spans);

  uint32_t id() const { return id_; }
  uint32_t size() const { return static_cast<uint32_t>(bytes_.size()); }

  // Any thread.
  Spans spans() const;
  Result<> set_spans(std::vector<RegisterSpan> spans);
  TickCounter& clock() { return clock_; }

  // vCPU threads: the shared bytes, naturally aligned accesses being single ones. `width` is 1, 2 or 4 and the access
  // lies within the window. Little-endian.
  uint32_t load(uint32_t offset, uint32_t width) const;
  void store(uint32_t offset, uint32_t width, uint32_t value, uint32_t mask);

 private:
  Window(uint32_t id, std::span<uint8_t> bytes, Spans spans) : id_(id), bytes_(bytes), spans_(std::move(spans)) {}

  const uint32_t id_;
  const std::span<uint8_t> bytes_;
  mutable std::mutex mutex_;
  Spans spans_;
  TickCounter clock_;
};

}  // namespace tsvmm
