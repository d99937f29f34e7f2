#include "napi/image_job.h"

#include <string>
#include <utility>

#include "napi/arguments.h"

namespace tsvmm {

namespace {

std::string place_of(const ImageFault& fault) {
  std::string place;
  if (fault.layer) place += "layer " + std::to_string(*fault.layer) + ", ";
  if (fault.page) place += "page " + std::to_string(*fault.page) + ": ";
  return place;
}

}  // namespace

class ImageJob::Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, std::shared_ptr<State> state, Work work)
      : AsyncWorker(env, "tsvmm-memory-image"),
        deferred_(Napi::Promise::Deferred::New(env)),
        state_(std::move(state)),
        work_(std::move(work)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { fault_ = work_(state_->job); }

  void OnOK() override {
    state_->is_running = false;
    // Whoever cancels before the promise is settled may count on the rejection, also where all was just done.
    if (!fault_ && state_->job.is_cancelled) fault_ = ImageFault{{ECANCELED, "memory image"}};
    if (!fault_) return deferred_.Resolve(Env().Undefined());
    deferred_.Reject(make_failure(Env(), fault_->failure, place_of(*fault_)).Value());
  }

 private:
  const Napi::Promise::Deferred deferred_;
  const std::shared_ptr<State> state_;
  const Work work_;
  std::optional<ImageFault> fault_;
};

Result<std::shared_ptr<SpanJob>> ImageJob::prepare() {
  if (state_->is_running) return Failure{EBUSY, "memory image"};
  state_ = std::make_shared<State>();
  return std::shared_ptr<SpanJob>(state_, &state_->job);
}

Napi::Promise ImageJob::start(Napi::Env env, Work work) {
  if (state_->is_running) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(make_failure(env, {EBUSY, "memory image"}).Value());
    return deferred.Promise();
  }
  if (!std::exchange(state_->is_fresh, false)) {
    state_ = std::make_shared<State>();
    state_->is_fresh = false;
  }
  state_->is_running = true;
  // It deletes itself when it is done.
  auto* worker = new Worker(env, state_, std::move(work));
  worker->Queue();
  return worker->promise();
}

Napi::Value ImageJob::progress(Napi::Env env) const {
  const auto number = [&](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  auto progress = Napi::Object::New(env);
  progress.Set("pagesDone", number(state_->job.pages_done));
  progress.Set("pagesTotal", number(state_->job.pages_total));
  progress.Set("bytesWritten", number(state_->job.bytes_written));
  return progress;
}

}  // namespace tsvmm
