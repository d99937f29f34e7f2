#include "napi/engine_bindings.h"

#include <fcntl.h>

#include <algorithm>

#include "napi/arguments.h"
#include "napi/disk_image_binding.h"
#include "napi/rate_limiter_binding.h"
#include "virtio/net_engine.h"

namespace tsvmm {

void BlockEngineBinding::define(Napi::Env env, Napi::Object exports) {
  auto all = methods();
  all.push_back(InstanceMethod<&BlockEngineBinding::grow>("grow"));
  exports.Set("BlockEngine", DefineClass(env, "BlockEngine", all));
}

BlockEngineBinding::BlockEngineBinding(const Napi::CallbackInfo& info) : EngineBinding(info) {
  if (auto options = open(info)) make(info.Env(), std::move(*options));
}

void BlockEngineBinding::make(Napi::Env env, EngineOptions options) {
  const auto object = host_->options();
  auto shared = std::make_unique<BlockShared>();
  const auto serial = read_bytes(object.Get("serial"), "serial");
  if (!serial) return;
  if (serial->size() > shared->serial.size()) {
    return Napi::RangeError::New(env, "serial is longer than 20 bytes").ThrowAsJavaScriptException();
  }
  std::ranges::copy(*serial, shared->serial.begin());
  if (!object.Get("onFault").IsFunction()) {
    return Napi::TypeError::New(env, "onFault must be a function").ThrowAsJavaScriptException();
  }
  shared->on_fault = [this](std::string reason) { host_->report_fault(std::move(reason)); };
  if (!open_disk(object, *shared) || !read_limiter_property(object, "limiter", shared->limiter)) return;
  auto engine = std::make_unique<BlockEngine>(std::move(options), std::move(shared));
  engine_ = engine.get();
  host_->adopt(std::move(engine));
}

void BlockEngineBinding::grow(const Napi::CallbackInfo& info) {
  if (!host_->is_open(info.Env())) return;
  const auto size = read_uint(info[0], "sizeBytes");
  if (!size || engine_->grow(*size)) return;
  Napi::RangeError::New(info.Env(), "only a raw disk grows").ThrowAsJavaScriptException();
}

// False where that is not what a disk is of; it has thrown then.
bool BlockEngineBinding::open_disk(Napi::Object object, BlockShared& shared) {
  if (!object.Get("image").IsUndefined()) {
    shared.image = read_disk_image(object.Get("image"), "image");
    return shared.image != nullptr;
  }
  const auto fd = read_uint(object.Get("fd"), "fd", INT32_MAX);
  if (!fd) return false;
  const auto options = read_disk_options(object);
  if (!options) return false;
  auto disk = DiskAccess::create(static_cast<int>(*fd), *options);
  if (!disk) return throw_failure(object.Env(), disk.failure()), false;
  shared.disk = std::move(disk).value();
  return true;
}

void NetEngineBinding::define(Napi::Env env, Napi::Object exports) {
  exports.Set("NetEngine", DefineClass(env, "NetEngine", methods()));
}

NetEngineBinding::NetEngineBinding(const Napi::CallbackInfo& info) : EngineBinding(info) {
  if (auto options = open(info)) make(info.Env(), std::move(*options));
}

void NetEngineBinding::make(Napi::Env env, EngineOptions options) {
  const Napi::Value value = host_->options().Get("tapFds");
  if (!value.IsArray() || value.As<Napi::Array>().Length() == 0) {
    return Napi::TypeError::New(env, "tapFds must be an array of descriptors").ThrowAsJavaScriptException();
  }
  const auto array = value.As<Napi::Array>();
  std::vector<UniqueFd> taps;
  for (uint32_t number = 0; number < array.Length(); ++number) {
    const auto fd = read_uint(array.Get(number), "tapFds", INT32_MAX);
    if (!fd) return;
    // Our own, so that a descriptor closed too early is never another file's.
    UniqueFd tap(fcntl(static_cast<int>(*fd), F_DUPFD_CLOEXEC, 0));
    if (!tap.is_open()) return throw_failure(env, last_failure("fcntl"));
    taps.push_back(std::move(tap));
  }
  NetEngine::Limiters limiters;
  if (!read_limiter_property(host_->options(), "receiveLimiter", limiters.receive) ||
      !read_limiter_property(host_->options(), "transmitLimiter", limiters.transmit)) {
    return;
  }
  host_->adopt(std::make_unique<NetEngine>(std::move(options), std::move(taps), std::move(limiters)));
}

void MailboxEngineBinding::define(Napi::Env env, Napi::Object exports) {
  auto all = methods();
  all.push_back(InstanceMethod<&MailboxEngineBinding::complete>("complete"));
  exports.Set("MailboxEngine", DefineClass(env, "MailboxEngine", all));
}

MailboxEngineBinding::MailboxEngineBinding(const Napi::CallbackInfo& info) : EngineBinding(info) {
  auto options = open(info, [this](Napi::Env env) { deliver(env); });
  if (options) make(info.Env(), std::move(*options));
}

void MailboxEngineBinding::make(Napi::Env env, EngineOptions options) {
  const auto object = host_->options();
  const auto maximum = read_uint(object.Get("maximumReadableBytes"), "maximumReadableBytes");
  if (!maximum) return;
  if (!object.Get("onChain").IsFunction()) {
    return Napi::TypeError::New(env, "onChain must be a function").ThrowAsJavaScriptException();
  }
  auto engine = std::make_unique<MailboxEngine>(
      std::move(options),
      MailboxEngine::Options{.maximum_readable_bytes = *maximum, .on_chains = [this] { host_->notify(); }});
  engine_ = engine.get();
  host_->adopt(std::move(engine));
}

void MailboxEngineBinding::deliver(Napi::Env env) {
  // A callback may stop or close the engine, or throw; what was not taken then is offered again.
  while (host_->is_running()) {
    const auto chain = engine_->take();
    if (!chain) return;
    const auto options = host_->options();
    options.Get("onChain").As<Napi::Function>().Call(
        options,
        {Napi::Number::New(env, chain->queue), Napi::Number::New(env, static_cast<double>(chain->token)),
         copy_bytes(env, chain->readable), Napi::Number::New(env, static_cast<double>(chain->writable_bytes))});
    if (!env.IsExceptionPending()) continue;
    if (host_->is_running()) host_->notify();
    return;
  }
}

void MailboxEngineBinding::complete(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  // Answers may come late, after close() too: their chains are nobody's any more.
  if (!host_->is_running()) return;
  const auto queue = read_uint(info[0], "queueIndex", UINT16_MAX);
  if (!queue) return;
  const auto head = read_uint(info[1], "head");
  if (!head) return;
  const auto bytes = read_bytes(info[2], "bytes");
  if (!bytes) return;
  switch (engine_->complete(static_cast<uint16_t>(*queue), *head, *bytes)) {
    case MailboxEngine::Completion::kUnknown:
      return Napi::RangeError::New(env, "no such chain is waiting for completion").ThrowAsJavaScriptException();
    case MailboxEngine::Completion::kTooLong:
      return Napi::RangeError::New(env, "bytes is longer than the chain's writable part").ThrowAsJavaScriptException();
    case MailboxEngine::Completion::kDone:
    case MailboxEngine::Completion::kStopped:
      return;
  }
}

}  // namespace tsvmm
