// The split virtqueue from the device's side (virtio 1.2 §2.7): the project's only walker, and the one place where
// hostile rings are judged. Whatever a driver writes, no byte outside guest RAM is touched and every loop is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/guest_memory.h"
#include "sys/result.h"
#include "virtio/chain.h"

namespace tsvmm {

// Feature bits of the ring itself (virtio 1.2 §6).
inline constexpr uint64_t kFeatureIndirectDescriptors = 1ull << 28;
inline constexpr uint64_t kFeatureEventIndex = 1ull << 29;

struct VringLayout {
  uint32_t size = 0;  // in entries
  uint64_t descriptor_table = 0;
  uint64_t available_ring = 0;
  uint64_t used_ring = 0;
  uint16_t next_available = 0;
  uint16_t next_used = 0;
};

// One thread at a time. Every value of the driver's is loaded once, atomically, and judged on that copy.
class Virtqueue {
 public:
  enum class Pop { kChain, kEmpty, kBroken };

  // A failure's operation says what is wrong with the ring: size (a power of two, at most 32768), alignment (§2.7), or
  // an area that is not one run of RAM.
  static Result<Virtqueue> create(const VringLayout& layout, std::shared_ptr<const GuestMemory> memory,
                                  uint64_t features);

  uint32_t size() const { return layout_.size; }
  uint16_t next_available() const { return layout_.next_available; }
  uint16_t next_used() const { return layout_.next_used; }

  // Takes the next chain. After kBroken nothing is handed out any more and failure() says why.
  Pop pop(Chain& chain);
  const char* failure() const { return failure_; }
  // For whoever finds that a chain is not what its device understands. `reason` is a literal.
  void give_up(const char* reason) { failure_ = reason; }
  // Whether pop() would not say kEmpty.
  bool has_available();
  // How many chains are known to be there, without a look at the driver's index.
  uint32_t known_available() const { return static_cast<uint16_t>(available_limit_ - layout_.next_available); }
  // Gives the last `count` popped chains back, to be popped again.
  void unpop(uint16_t count) { layout_.next_available = static_cast<uint16_t>(layout_.next_available - count); }

  // Adds a used element (§2.7.8) that publish() makes visible. `written` counts bytes of the writable part.
  void push(uint16_t head, uint32_t written);
  // Returns whether the driver wants an interrupt for what was pushed since the last publish (§2.7.7, §2.7.10).
  [[nodiscard]] bool publish();
  bool has_unpublished() const { return pushed_ != layout_.next_used; }
  // Tells the memory that the first `bytes` of the writable part were written. Afterwards, as everywhere: what the
  // walker itself writes into the used ring it marks by itself.
  void mark_written(const Chain& chain, uint64_t bytes) const;
  void mark_written(uint64_t guest_address, uint64_t bytes) const { memory_->dirty().mark(guest_address, bytes); }

  // Asks the driver not to notify; it may do so nevertheless.
  void disable_notifications();
  // Asks for a notification at the next chain. True where one came in the meantime: the caller pops first then.
  [[nodiscard]] bool enable_notifications();

  // Whether RAM was added or removed since. adopt_memory() takes the new picture; chains already handed out stay valid
  // until release_memory().
  bool memory_changed() const { return memory_->map() != map_; }
  void adopt_memory();
  void release_memory() { retired_.clear(); }

 private:
  struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
  };
  struct Walk;

  Virtqueue(const VringLayout& layout, std::shared_ptr<const GuestMemory> memory, uint64_t features)
      : layout_(layout),
        memory_(std::move(memory)),
        map_(memory_->map()),
        indirect_((features & kFeatureIndirectDescriptors) != 0),
        event_index_((features & kFeatureEventIndex) != 0),
        available_limit_(layout.next_available),
        pushed_(layout.next_used) {}

  const char* resolve_rings();
  Pop fail(const char* reason);
  bool look_for_available();
  static Descriptor load_descriptor(const std::byte* table, uint32_t index);
  const char* walk(Chain& chain, uint16_t head);
  const char* walk_indirect(Walk& walk, const Descriptor& reference);
  const char* add_descriptor(Walk& walk, const Descriptor& descriptor);
  bool add_pieces(Chain& chain, uint64_t address, uint64_t length);
  void mark_elements(uint16_t from, uint16_t to) const;

  VringLayout layout_;
  std::shared_ptr<const GuestMemory> memory_;
  std::shared_ptr<const RamMap> map_;
  std::vector<std::shared_ptr<const RamMap>> retired_;
  bool indirect_;
  bool event_index_;

  // SAFETY: each points at a whole ring area inside a run of RAM of map_, which keeps it mapped.
  std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  RamRange recent_{};  // where the last buffer was found

  uint16_t available_limit_;  // the driver's index as last read
  uint16_t pushed_;           // the used index that publish() will store
  bool interrupted_before_ = false;
  const char* failure_ = nullptr;
};

}  // namespace tsvmm
