#include "napi/notifier.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "napi/exceptions.h"

namespace tsvmm {

// Shared with calls that are still queued when the Notifier goes.
struct Notifier::State {
  std::function<void(Napi::Env)> work;  // JavaScript thread only; empty once closed
  std::atomic<bool> pending = false;
  std::mutex mutex;  // guards `function` against a notify() that meets close()
  napi_threadsafe_function function = nullptr;
};

Notifier::Notifier(Napi::Env env, const char* name, std::function<void(Napi::Env)> work)
    : state_(std::make_shared<State>()) {
  state_->work = std::move(work);
  auto* context = new std::shared_ptr<State>(state_);
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<State>*>(data); };
  const auto call = [](napi_env call_env, napi_value, void* data, void*) {
    // A null environment means that it is being torn down.
    if (call_env == nullptr) return;
    const auto state = *static_cast<std::shared_ptr<State>*>(data);
    state->pending.store(false, std::memory_order_seq_cst);
    Napi::HandleScope scope(call_env);
    if (!runs_javascript(call_env)) return;
    // A copy, since it may close the Notifier, which takes the original away.
    if (const auto work = state->work) work(Napi::Env(call_env));
    report_uncaught(call_env);
  };
  const auto status = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, name), 0, 1,
                                                      context, finalize, context, call, &state_->function);
  if (status != napi_ok) {
    delete context;
    state_->function = nullptr;
    Napi::Error::New(env, "cannot create a thread-safe function").ThrowAsJavaScriptException();
    return;
  }
  napi_unref_threadsafe_function(env, state_->function);
}

Notifier::~Notifier() { close(); }

bool Notifier::notify() {
  if (state_->pending.exchange(true, std::memory_order_seq_cst)) return false;
  std::lock_guard lock(state_->mutex);
  if (state_->function != nullptr) napi_call_threadsafe_function(state_->function, nullptr, napi_tsfn_nonblocking);
  return true;
}

void Notifier::close() {
  state_->work = nullptr;
  napi_threadsafe_function function = nullptr;
  {
    std::lock_guard lock(state_->mutex);
    function = std::exchange(state_->function, nullptr);
  }
  if (function != nullptr) napi_release_threadsafe_function(function, napi_tsfn_abort);
}

void Notifier::keep_alive(Napi::Env env, bool on) {
  if (state_->function == nullptr) return;
  if (on) {
    napi_ref_threadsafe_function(env, state_->function);
  } else {
    napi_unref_threadsafe_function(env, state_->function);
  }
}

}  // namespace tsvmm
