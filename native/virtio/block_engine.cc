#include "virtio/block_engine.h"

#include <linux/virtio_blk.h>

namespace tsvmm {

namespace {
// Each waits for one host call at a time.
constexpr size_t kMaximumPoolThreads = 16;
}  // namespace

BlockEngine::BlockEngine(EngineOptions options, std::unique_ptr<BlockShared> shared)
    : Engine(std::move(options)), shared_(std::move(shared)) {
  if (!shared_->image) return;
  const auto name_of = [this](size_t number) { return thread_name("_w" + std::to_string(number)); };
  shared_->pool = std::make_unique<WorkPool>(name_of, kMaximumPoolThreads);
}

void BlockEngine::set_mode(uint64_t value) {
  writeback_ = value != 0;
  apply_mode();
}

bool BlockEngine::grow(uint64_t size) {
  if (!shared_->disk || size < shared_->disk->size()) return false;
  shared_->disk->grow(size);
  return true;
}

void BlockEngine::apply_mode() {
  const bool flush = (features_ >> VIRTIO_BLK_F_FLUSH & 1) != 0;
  const bool configurable = (features_ >> VIRTIO_BLK_F_CONFIG_WCE & 1) != 0;
  shared_->writeback.store(configurable ? writeback_.value_or(flush) : flush, std::memory_order_relaxed);
}

Engine::Counters BlockEngine::counters() const {
  const auto& reads = shared_->read_latency;
  const auto& writes = shared_->write_latency;
  return {{"read_bytes", shared_->read_bytes.load()},   {"read_ops", shared_->read_operations.load()},
          {"write_bytes", shared_->write_bytes.load()}, {"write_ops", shared_->write_operations.load()},
          {"read_latency_min", reads.least_us()},       {"read_latency_max", reads.most_us()},
          {"read_latency_avg", reads.average_us()},     {"write_latency_min", writes.least_us()},
          {"write_latency_max", writes.most_us()},      {"write_latency_avg", writes.average_us()}};
}

std::optional<Engine::StartFailure> BlockEngine::make_workers(std::vector<Vring> vrings, uint64_t features) {
  features_ = features;
  apply_mode();
  for (auto& vring : vrings) {
    const auto index = vring.index;
    auto queue = Virtqueue::create(vring.layout, options().memory, features);
    if (!queue) return StartFailure{index, queue.failure()};
    auto wake = EventFd::create();
    if (!wake) return StartFailure{-1, wake.failure()};
    add_worker(std::make_unique<BlockQueue>(std::move(wake).value(), *shared_, std::move(vring),
                                            std::move(queue).value(), features, options().on_failure),
               "_q" + std::to_string(index));
  }
  return {};
}

}  // namespace tsvmm
