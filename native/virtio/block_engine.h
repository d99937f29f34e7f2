// Serves a disk's queues, a thread each (`<name>_q<i>`).
#pragma once

#include <memory>

#include "virtio/block_queue.h"
#include "virtio/engine.h"

namespace tsvmm {

class BlockEngine final : public Engine {
 public:
  // `shared` has a disk or an image.
  BlockEngine(EngineOptions options, std::unique_ptr<BlockShared> shared);
  ~BlockEngine() override { shut_down(); }

  // 0: write-through, 1: writeback. Only heard where the driver negotiated CONFIG_WCE; else FLUSH decides (virtio 1.2
  // §5.2.6.2). Kept over stop and start.
  void set_mode(uint64_t value) override;
  // A raw disk's file has grown to so many bytes. False where it is no raw disk, or was larger.
  bool grow(uint64_t size);
  Counters counters() const override;

 private:
  std::optional<StartFailure> make_workers(std::vector<Vring> vrings, uint64_t features) override;
  void apply_mode();

  std::unique_ptr<BlockShared> shared_;
  uint64_t features_ = 0;
  std::optional<bool> writeback_;
};

}  // namespace tsvmm
