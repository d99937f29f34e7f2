#include "napi/engine_host.h"

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/event_fd_binding.h"
#include "napi/memory_binding.h"

namespace tsvmm {

namespace {

Napi::Array positions_to_array(Napi::Env env, const std::vector<VringPosition>& positions) {
  auto array = Napi::Array::New(env, positions.size());
  for (uint32_t number = 0; number < positions.size(); ++number) {
    auto position = Napi::Object::New(env);
    position.Set("index", positions[number].index);
    position.Set("nextAvailable", positions[number].next_available);
    position.Set("nextUsed", positions[number].next_used);
    array.Set(number, position);
  }
  return array;
}

bool read_vring(Napi::Object object, Vring& vring) {
  // The engines' own judgement follows; here only what fits into the types.
  const struct {
    const char* name;
    uint64_t maximum;
    std::function<void(uint64_t)> assign;
  } fields[] = {
      {"index", UINT16_MAX, [&](uint64_t value) { vring.index = static_cast<uint16_t>(value); }},
      {"sizeEntries", UINT32_MAX, [&](uint64_t value) { vring.layout.size = static_cast<uint32_t>(value); }},
      {"descriptorTable", UINT64_MAX, [&](uint64_t value) { vring.layout.descriptor_table = value; }},
      {"availableRing", UINT64_MAX, [&](uint64_t value) { vring.layout.available_ring = value; }},
      {"usedRing", UINT64_MAX, [&](uint64_t value) { vring.layout.used_ring = value; }},
      {"nextAvailable", UINT16_MAX,
       [&](uint64_t value) { vring.layout.next_available = static_cast<uint16_t>(value); }},
      {"nextUsed", UINT16_MAX, [&](uint64_t value) { vring.layout.next_used = static_cast<uint16_t>(value); }},
  };
  for (const auto& field : fields) {
    const auto value = read_uint(object.Get(field.name), field.name, field.maximum);
    if (!value) return false;
    field.assign(*value);
  }
  vring.doorbell = read_event_fd(object.Get("doorbell"), "doorbell");
  if (!vring.doorbell) return false;
  vring.interrupt = read_event_fd(object.Get("interrupt"), "interrupt");
  return vring.interrupt != nullptr;
}

}  // namespace

std::optional<std::vector<Vring>> read_vrings(Napi::Value value) {
  if (!value.IsArray()) {
    Napi::TypeError::New(value.Env(), "vrings must be an array").ThrowAsJavaScriptException();
    return {};
  }
  const auto array = value.As<Napi::Array>();
  std::vector<Vring> vrings(array.Length());
  for (uint32_t number = 0; number < vrings.size(); ++number) {
    const Napi::Value entry = array.Get(number);
    if (!entry.IsObject()) {
      Napi::TypeError::New(value.Env(), "vrings must hold objects").ThrowAsJavaScriptException();
      return {};
    }
    if (!read_vring(entry.As<Napi::Object>(), vrings[number])) return {};
  }
  return vrings;
}

std::optional<uint64_t> read_features(Napi::Value value) {
  if (!value.IsBigInt()) {
    Napi::TypeError::New(value.Env(), "features must be a bigint").ThrowAsJavaScriptException();
    return {};
  }
  bool lossless = false;
  const auto features = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (lossless) return features;
  Napi::RangeError::New(value.Env(), "features is out of range").ThrowAsJavaScriptException();
  return {};
}

EngineHost::EngineHost(Napi::Env env, Napi::Object options, std::function<void(Napi::Env)> work)
    : env_(env),
      options_(Napi::Persistent(options)),
      work_(std::move(work)),
      notifier_(env, "tsvmm engine", [this](Napi::Env call_env) { this->work(call_env); }) {
  // Runs before the notifier's own end: hooks run in the reverse order.
  napi_add_env_cleanup_hook(env, &EngineHost::leave_environment, this);
}

EngineHost::~EngineHost() {
  napi_remove_env_cleanup_hook(env_, &EngineHost::leave_environment, this);
  shut_down();
}

void EngineHost::leave_environment(void* self) { static_cast<EngineHost*>(self)->shut_down(); }

std::optional<EngineOptions> EngineHost::read_options(Napi::Object object) {
  auto name = read_string(object.Get("name"), "name");
  if (!name) return {};
  auto memory = read_guest_memory(object.Get("memory"), "memory");
  if (!memory) return {};
  if (!object.Get("onFailure").IsFunction()) {
    Napi::TypeError::New(object.Env(), "onFailure must be a function").ThrowAsJavaScriptException();
    return {};
  }
  EngineOptions options;
  options.name = std::move(*name);
  options.memory = std::move(memory);
  options.on_failure = [this](uint16_t queue, const char* reason) { add_report({queue, reason}); };
  options.on_stopped = [this] {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    notifier_.notify();
  };
  return options;
}

void EngineHost::report_fault(std::string reason) { add_report({{}, std::move(reason)}); }

void EngineHost::add_report(Report report) {
  {
    std::lock_guard lock(mutex_);
    reports_.push_back(std::move(report));
  }
  notifier_.notify();
}

bool EngineHost::is_open(Napi::Env env) const {
  if (engine_ == nullptr) throw_closed(env, "engine");
  return engine_ != nullptr;
}

void EngineHost::start(const Napi::CallbackInfo& info, Napi::ObjectReference self) {
  const auto env = info.Env();
  if (!is_open(env)) return;
  if (engine_->is_running()) return Napi::Error::New(env, "the engine is running").ThrowAsJavaScriptException();
  auto vrings = read_vrings(info[0]);
  if (!vrings) return;
  const auto features = read_features(info[1]);
  if (!features) return;
  if (vrings->empty()) return;
  {
    std::lock_guard lock(mutex_);
    reports_.clear();
    stopped_ = false;
  }
  const auto failed = engine_->start(std::move(*vrings), *features);
  if (!failed) {
    self_ = std::move(self);
    return;
  }
  if (failed->queue < 0) return throw_failure(env, failed->failure);
  const auto message = "queue " + std::to_string(failed->queue) + ": " + failed->failure.operation;
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
}

void EngineHost::set_mode(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (const auto value = read_uint(info[0], "value", UINT16_MAX)) engine_->set_mode(*value);
}

Napi::Value EngineHost::stop(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (stopping_) return stop_promise_.Value();
  auto deferred = Napi::Promise::Deferred::New(env);
  if (engine_ == nullptr || !engine_->is_running()) {
    deferred.Resolve(Napi::Array::New(env));
    return deferred.Promise();
  }
  stopping_ = deferred;
  stop_promise_ = Napi::Persistent(deferred.Promise().As<Napi::Object>());
  notifier_.keep_alive(env, true);
  engine_->request_stop();
  return deferred.Promise();
}

Napi::Value EngineHost::counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  auto object = Napi::Object::New(env);
  for (const auto& [name, value] : engine_->counters()) object.Set(name, Napi::BigInt::New(env, value));
  return object;
}

void EngineHost::work(Napi::Env env) {
  if (!deliver_reports(env)) return;
  if (work_ && is_running()) work_(env);
  if (env.IsExceptionPending() || engine_ == nullptr) return;
  bool stopped = false;
  {
    std::lock_guard lock(mutex_);
    stopped = std::exchange(stopped_, false);
  }
  if (stopped) end_stop(env);
}

// False where a callback closed the engine, or threw: then the rest follows in another turn, so that the exception is
// seen.
bool EngineHost::deliver_reports(Napi::Env env) {
  for (;;) {
    Report report;
    {
      std::lock_guard lock(mutex_);
      if (reports_.empty()) return true;
      report = std::move(reports_.front());
      reports_.erase(reports_.begin());
    }
    const auto target = options_.Value();
    const auto reason = Napi::String::New(env, report.reason);
    if (report.queue) {
      target.Get("onFailure").As<Napi::Function>().Call(target, {Napi::Number::New(env, *report.queue), reason});
    } else {
      target.Get("onFault").As<Napi::Function>().Call(target, {reason});
    }
    if (engine_ == nullptr) return false;
    if (!env.IsExceptionPending()) continue;
    notifier_.notify();
    return false;
  }
}

void EngineHost::end_stop(Napi::Env env) {
  if (!stopping_) return;
  const auto deferred = *stopping_;
  stopping_.reset();
  stop_promise_.Reset();
  const auto positions = engine_->finish();
  self_.Reset();
  notifier_.keep_alive(env, false);
  deferred.Resolve(positions_to_array(env, positions));
}

void EngineHost::close(Napi::Env env) {
  if (engine_ == nullptr) return;
  // Threads first: afterwards nobody notifies.
  if (stopping_) end_stop(env);
  shut_down();
  options_.Reset();
  self_.Reset();
}

void EngineHost::shut_down() {
  engine_.reset();
  notifier_.close();
}

}  // namespace tsvmm
