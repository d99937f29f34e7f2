// For tests: a guest's driver of a disk.
#pragma once

#include <linux/virtio_blk.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "virtio/testing/guest_driver.h"

namespace tsvmm {

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kRamSize = 16ull << 20;
constexpr uint64_t kFeatures = kFeatureIndirectDescriptors | kFeatureEventIndex | 1ull << VIRTIO_BLK_F_FLUSH |
                               1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;

struct Failures {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<uint16_t, std::string>> list;

  void add(uint16_t queue, const char* reason) {
    std::lock_guard lock(mutex);
    list.emplace_back(queue, reason);
    changed.notify_all();
  }
  std::string wait() {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(10), [&] { return !list.empty(); });
    return list.empty() ? "" : list.front().second;
  }
};

// One queue's driver that makes block requests; a window of guest memory of its own.
class BlockDriver {
 public:
  BlockDriver(const GuestRam& ram, uint32_t number, uint32_t size = 64, uint16_t position = 0)
      : ring(ram, size, kFeatures, kRam + number * kWindow, position),
        data(kRam + number * kWindow + 0x10000),
        ram_(ram) {}

  static constexpr uint64_t kWindow = 2ull << 20;

  uint8_t transfer(uint32_t type, uint64_t sector, std::initializer_list<GuestBuffer> buffers) {
    set_header(type, sector);
    std::vector<GuestBuffer> all{{header_, 16}};
    all.insert(all.end(), buffers);
    all.push_back({status_, 1, true});
    return submit(all);
  }
  uint8_t submit(const std::vector<GuestBuffer>& buffers) {
    *ram_.at<uint8_t>(status_) = 0xee;
    ring.offer(ring.chain(buffers));
    element = {};
    if (!ring.kick_and_wait(element)) return 0xdd;
    return *ram_.at<uint8_t>(status_);
  }
  void set_header(uint32_t type, uint64_t sector) { *ram_.at<virtio_blk_outhdr>(header_) = {type, 0, sector}; }
  uint64_t header() const { return header_; }
  uint64_t status() const { return status_; }

  GuestDriver ring;
  vring_used_elem element{};
  const uint64_t data;

 private:
  const GuestRam& ram_;
  const uint64_t header_ = data - 0x1000;
  const uint64_t status_ = data - 0x100;
};

}  // namespace tsvmm
