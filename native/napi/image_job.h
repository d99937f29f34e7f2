#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>

#include "memory/image_loader.h"
#include "memory/span_job.h"

namespace tsvmm {

// The work on a memory image that one object does: one at a time, not on the JavaScript thread.
class ImageJob {
 public:
  using Work = std::function<std::optional<ImageFault>(SpanJob& job)>;

  // `work` owns all that it uses. Rejects with EBUSY while another runs.
  Napi::Promise start(Napi::Env env, Work work);
  // Of the last one.
  Napi::Value progress(Napi::Env env) const;
  void cancel() const { state_->job.is_cancelled = true; }

 private:
  class Worker;
  struct State {
    SpanJob job;
    bool is_running = false;  // JavaScript thread
  };

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace tsvmm
