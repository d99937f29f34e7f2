#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>

#include "memory/image_loader.h"
#include "memory/span_job.h"
#include "sys/result.h"

namespace tsvmm {

// The work on a memory image that one object does: one at a time, not on the JavaScript thread.
class ImageJob {
 public:
  using Work = std::function<std::optional<ImageFault>(SpanJob& job)>;

  // `work` owns all that it uses. Rejects with EBUSY while another runs.
  Napi::Promise start(Napi::Env env, Work work);
  // For work that begins before it is started: what start() will hand to it. EBUSY while another runs.
  Result<std::shared_ptr<SpanJob>> prepare();
  // Of the last one.
  Napi::Value progress(Napi::Env env) const;
  void cancel() const { state_->job.is_cancelled = true; }

 private:
  class Worker;
  struct State {
    SpanJob job;
    // JavaScript thread
    bool is_running = false;
    bool is_fresh = true;
  };

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace tsvmm
