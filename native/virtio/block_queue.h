// The thread behind one queue of a disk.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "disk/disk_image.h"
#include "io/rate_limiter.h"
#include "io/ring.h"
#include "sys/work_pool.h"
#include "virtio/block_request.h"
#include "virtio/idle_poll.h"
#include "virtio/vring.h"
#include "virtio/worker.h"

namespace tsvmm {

// Shared by the queues of a disk. Any thread.
struct BlockShared {
  // The one or the other: a disk whose bytes are those of a file, or one of another format with what blocks of it.
  std::unique_ptr<DiskAccess> disk;
  std::shared_ptr<DiskImage> image;
  std::unique_ptr<WorkPool> pool;
  // Something is wrong with the image. From any of the disk's threads.
  std::function<void(std::string reason)> on_fault;
  // Queues that are being served: the last one leaves the image's file whole.
  std::atomic<size_t> served_queues = 0;

  DiskAccess& file() const { return image ? image->file() : *disk; }

  // How much all queues together may do, and disks of the same group; nullptr: as much as they can.
  std::shared_ptr<RateLimiter> limiter;
  std::array<uint8_t, 20> serial{};
  // Completed writes may still be in the host's cache.
  std::atomic<bool> writeback = true;
  // false: host I/O blocks the queue's thread (tests).
  bool use_ring = true;
  std::atomic<uint64_t> read_bytes = 0;
  std::atomic<uint64_t> read_operations = 0;
  std::atomic<uint64_t> write_bytes = 0;
  std::atomic<uint64_t> write_operations = 0;
  Latency read_latency;
  Latency write_latency;
};

// How a request reaches the host, chosen by measurement (page cache, 4 KiB unless said otherwise, two busy cores):
//   a read alone in the queue: preadv2 with RWF_NOWAIT in this thread, 8.0 us a round trip (io_uring: 13.8 us);
//     io_uring where it would block
//   a buffered write: pwritev2 in this thread, 18 us (io_uring hands it to another thread: 60 us)
//   anything else: io_uring, one submission for all that the queue had (16 reads of 256 KiB: 20 us each, 26 us by
//   calls)
// Where the kernel refuses io_uring every call is made in this thread. What an image has to do by itself is the pool's.
// Requests that the limiter does not allow yet stay in the queue.
class BlockQueue final : public Worker {
 public:
  BlockQueue(EventFd wake, BlockShared& shared, Vring vring, Virtqueue queue, uint64_t features, OnFailure on_failure);
  ~BlockQueue() override { join(); }

  void add_positions(std::vector<VringPosition>& positions) const override;

 private:
  void run() override;
  // Until there is something to do.
  void rest();
  void sleep();
  // True where something was popped.
  bool take_requests();
  bool is_limited();
  void advance(BlockRequest& request, bool alone);
  // False where the step belongs in the ring.
  bool perform_inline(BlockRequest& request, bool alone);
  void hand_to_pool(BlockRequest& request);
  bool reap();
  bool reap_from_pool();
  void settle_image();
  void report_fault();
  void complete(BlockRequest& request);
  void publish();
  void report_failure();
  bool has_in_flight() const { return idle_requests_.size() != requests_.size(); }

  BlockShared& shared_;
  Vring vring_;
  Virtqueue queue_;
  BlockTarget target_;
  OnFailure on_failure_;
  bool failure_reported_ = false;
  bool direct_;
  std::vector<BlockRequest> requests_;
  std::vector<BlockRequest*> idle_requests_;
  IoRing ring_;
  IdlePoll poll_;
  bool nowait_reads_ = true;
  bool nowait_writes_ = true;
  uint64_t unpublished_bytes_ = 0;
  // Until the limiter lets it go on, when it was asked last; 0: it does.
  uint64_t wait_ns_ = 0;

  struct CarriedOut {
    BlockRequest* request;
    int64_t result;
  };
  std::mutex mutex_;  // guards what follows, from the pool's threads
  std::vector<CarriedOut> carried_out_;
};

}  // namespace tsvmm
