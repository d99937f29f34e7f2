// Guest addresses to windows, for port and memory-mapped I/O.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "bus/window.h"
#include "sys/result.h"

namespace tsvmm {

struct Placement {
  uint64_t address;
  std::shared_ptr<Window> window;
};

// An immutable picture, ascending by address.
class WindowTable {
 public:
  explicit WindowTable(std::vector<Placement> placements) : placements_(std::move(placements)) {}

  // Which window holds `address`; nullptr for none.
  const Placement* find(uint64_t address) const;
  // Bytes from `address`, which no window holds, to the next one; UINT64_MAX where none follows.
  uint64_t gap_at(uint64_t address) const;
  const std::vector<Placement>& placements() const { return placements_; }

 private:
  std::vector<Placement> placements_;
};

// Any thread may call everything.
class AddressSpace {
 public:
  // EEXIST where any byte is taken, EINVAL where the window leaves the 64-bit space.
  Result<> add(uint64_t address, std::shared_ptr<Window> window);
  // As add(), taking the window from where it is; unchanged on failure.
  Result<> move(const Window& window, uint64_t address);
  void remove(const Window& window);

  std::shared_ptr<const WindowTable> table() const;
  // Changes whenever table() does: vCPU threads keep a table until then.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  Result<> place(std::vector<Placement> placements, Placement placement);

  mutable std::mutex mutex_;
  std::shared_ptr<const WindowTable> table_ = std::make_shared<WindowTable>(std::vector<Placement>{});
  std::atomic<uint64_t> generation_ = 1;
};

// Who answers what the spans leave to JavaScript.
class TrapSink {
 public:
  virtual ~TrapSink() = default;
  virtual uint32_t read(const Window& window, uint32_t offset, uint32_t width) = 0;
  virtual void write(const Window& window, uint32_t offset, uint32_t width, uint32_t value) = 0;
  virtual void post(const Window& window, uint32_t offset, uint32_t width, uint32_t value) = 0;
};

// How often the vCPU thread answered by itself, and how. Written by one thread, read by any.
struct AccessCounters {
  std::atomic<uint64_t> bytes = 0;
  std::atomic<uint64_t> clock = 0;
  std::atomic<uint64_t> posted = 0;
  std::atomic<uint64_t> ignored = 0;
  std::atomic<uint64_t> trapped = 0;
  std::atomic<uint64_t> unmapped = 0;
};

// One guest access of 1 to 8 bytes. It is cut at window and span borders and into pieces of 1, 2 or 4 bytes. `memory`
// is where ECAM spans lead; without it nothing is there.
void access_read(const WindowTable& table, uint64_t address, std::span<uint8_t> data, TrapSink& sink,
                 AccessCounters& counters, const WindowTable* memory = nullptr);
void access_write(const WindowTable& table, uint64_t address, std::span<const uint8_t> data, TrapSink& sink,
                  AccessCounters& counters, const WindowTable* memory = nullptr);

}  // namespace tsvmm
