#include "napi/page_server_binding.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "memory/image_page_source.h"
#include "memory/raw_page_source.h"
#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/memory_binding.h"
#include "napi/memory_image_binding.h"

namespace tsvmm {

namespace {

constexpr unsigned kMostThreads = 16;

void throw_type(Napi::Env env, const char* message) { Napi::TypeError::New(env, message).ThrowAsJavaScriptException(); }

std::shared_ptr<PageSource> read_image_source(Napi::Env env, const std::shared_ptr<const ImageChain>& image) {
  auto source = ImagePageSource::open(image);
  if (!source) return throw_failure(env, source.failure()), nullptr;
  return std::move(source).value();
}

}  // namespace

std::shared_ptr<PageSource> read_page_source(Napi::Value value) {
  if (!value.IsObject()) return throw_type(value.Env(), "source must be an object"), nullptr;
  const auto object = value.As<Napi::Object>();
  const auto fd = read_uint(object.Get("fd"), "fd", INT32_MAX);
  if (!fd) return nullptr;
  const auto offset = read_uint_property(object, "fileOffset", 0);
  if (!offset) return nullptr;
  auto source = RawPageSource::open(static_cast<int>(*fd), *offset);
  if (!source) return throw_failure(value.Env(), source.failure()), nullptr;
  return std::move(source).value();
}

void PageServerBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = PageServerBinding;
  exports.Set("PageServer",
              DefineClass(env, "PageServer",
                          {InstanceMethod<&Self::start>("start"), InstanceMethod<&Self::fill>("fill"),
                           InstanceMethod<&Self::cancel_fill>("cancelFill"),
                           InstanceMethod<&Self::recorded>("recorded"), InstanceMethod<&Self::counters>("counters"),
                           InstanceMethod<&Self::abandon>("abandon"), InstanceMethod<&Self::close>("close")}));
}

PageServerBinding::PageServerBinding(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {
  if (!info[0].IsObject()) {
    throw_type(env_, "options must be an object");
    return;
  }
  const auto object = info[0].As<Napi::Object>();
  if (!read_options(object)) return;
  callbacks_ = Napi::Persistent(object);
  notifier_ = std::make_unique<Notifier>(env_, "tsvmm page server", [this](Napi::Env env) { work(env); });
  // Runs before the notifier's own end: hooks run in the reverse order.
  napi_add_env_cleanup_hook(env_, &PageServerBinding::leave_environment, this);
  is_closed_ = false;
}

PageServerBinding::~PageServerBinding() {
  if (notifier_) napi_remove_env_cleanup_hook(env_, &PageServerBinding::leave_environment, this);
  shut_down();
}

void PageServerBinding::leave_environment(void* self) { static_cast<PageServerBinding*>(self)->shut_down(); }

bool PageServerBinding::read_options(Napi::Object object) {
  const auto env = object.Env();
  memory_ = read_guest_memory(object.Get("memory"), "memory");
  if (!memory_) return false;
  if (!object.Get("onFailure").IsFunction()) return throw_type(env, "onFailure must be a function"), false;
  const auto on_failure = [this](const std::string& reason) { report(reason); };
  if (const Napi::Value image = object.Get("image"); !image.IsUndefined()) {
    const auto* binding = unwrap<MemoryImageBinding>(image, addon_data(env).memory_image, "image");
    if (binding == nullptr) return false;
    if (!binding->chain()) return throw_closed(env, "image"), false;
    image_ = binding->chain();
  }
  if (const Napi::Value path = object.Get("handlerSocket"); !path.IsUndefined()) {
    auto socket_path = read_string(path, "handlerSocket");
    if (!socket_path) return false;
    options_ = ExternalPagerOptions{.socket_path = std::move(*socket_path), .on_failure = on_failure};
    return true;
  }
  PageServerOptions options{.on_failure = on_failure, .owner_thread = gettid()};
  const auto threads = read_uint_property(object, "threads", options.threads);
  if (!threads) return false;
  if (*threads < 1 || *threads > kMostThreads) {
    Napi::RangeError::New(env, "threads is out of range").ThrowAsJavaScriptException();
    return false;
  }
  options.threads = static_cast<unsigned>(*threads);
  if (const Napi::Value list = object.Get("prefetch"); !list.IsUndefined()) {
    if (!list.IsTypedArray() || list.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
      return throw_type(env, "prefetch must be a Uint32Array"), false;
    }
    auto pages = read_words<uint32_t>(list, "prefetch");
    if (!pages) return false;
    options.prefetch = std::move(*pages);
  }
  options.source = image_ ? read_image_source(env, image_) : read_page_source(object.Get("source"));
  if (!options.source) return false;
  options_ = std::move(options);
  return true;
}

bool PageServerBinding::is_open(Napi::Env env) const {
  if (is_closed_) throw_closed(env, "PageServer");
  return !is_closed_;
}

PageServer* PageServerBinding::own_server(Napi::Env env) const {
  if (!is_open(env)) return nullptr;
  if (server_ == nullptr) {
    const char* why = external_ == nullptr ? "the page server is not running" : "another process serves the pages";
    Napi::Error::New(env, why).ThrowAsJavaScriptException();
  }
  return server_.get();
}

void PageServerBinding::start(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return;
  if (server_ || external_) return Napi::Error::New(env, "the page server is running").ThrowAsJavaScriptException();
  if (image_) {
    if (const auto shown = show_contents(*memory_->map(), *image_); !shown) return throw_failure(env, shown.failure());
  }
  if (auto* options = std::get_if<PageServerOptions>(&options_)) {
    options->memory = memory_->map();
    auto started = PageServer::start(*options);
    if (!started) return throw_failure(env, started.failure());
    server_ = std::move(started).value();
  } else {
    auto& outside = std::get<ExternalPagerOptions>(options_);
    outside.memory = memory_->map();
    auto started = ExternalPager::start(outside);
    if (!started) return throw_failure(env, started.failure());
    external_ = std::move(started).value();
  }
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
}

Napi::Value PageServerBinding::fill(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  auto* server = own_server(env);
  if (server == nullptr) return env.Undefined();
  uint64_t rate = 0;
  if (!info[0].IsUndefined()) {
    const auto bytes_per_second = read_uint(info[0], "bytesPerSecond");
    if (!bytes_per_second) return env.Undefined();
    rate = *bytes_per_second;
  }
  // The last one has ended in its thread, but its promise is not settled yet.
  auto filling =
      filling_ ? Result<>(Failure{EBUSY, "fill guest memory"}) : server->fill(rate, [this](bool is_complete) {
        {
          std::lock_guard lock(mutex_);
          fill_end_ = is_complete;
        }
        notifier_->notify();
      });
  if (!filling) return throw_failure(env, filling.failure()), env.Undefined();
  filling_ = Napi::Promise::Deferred::New(env);
  notifier_->keep_alive(env, true);
  return filling_->Promise();
}

void PageServerBinding::cancel_fill(const Napi::CallbackInfo& info) {
  if (auto* server = own_server(info.Env())) server->cancel_fill();
}

Napi::Value PageServerBinding::recorded(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* server = own_server(env);
  if (server == nullptr) return env.Undefined();
  const auto pages = server->recorded();
  auto array = Napi::Uint32Array::New(env, pages.size());
  std::copy(pages.begin(), pages.end(), array.Data());
  return array;
}

Napi::Value PageServerBinding::counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* server = own_server(env);
  if (server == nullptr) return env.Undefined();
  const auto counters = server->counters();
  auto object = Napi::Object::New(env);
  object.Set("faults", Napi::BigInt::New(env, counters.faults));
  object.Set("pagesServed", Napi::BigInt::New(env, counters.served));
  object.Set("pagesPrefetched", Napi::BigInt::New(env, counters.prefetched));
  object.Set("pagesFilled", Napi::BigInt::New(env, counters.filled));
  object.Set("pagesMissing", Napi::BigInt::New(env, counters.missing));
  return object;
}

void PageServerBinding::abandon(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (server_) server_->abandon();
  if (external_) external_->abandon();
}

void PageServerBinding::close(const Napi::CallbackInfo& info) {
  if (is_closed_) return;
  // Threads first: afterwards nobody notifies.
  server_.reset();
  external_.reset();
  if (filling_) settle_fill(info.Env(), fill_end_.value_or(false));
  shut_down();
  callbacks_.Reset();
  self_.Reset();
}

// Any thread but JavaScript's.
void PageServerBinding::report(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    failure_ = reason;
  }
  notifier_->notify();
}

void PageServerBinding::work(Napi::Env env) {
  std::optional<std::string> failure;
  std::optional<bool> fill_end;
  {
    std::lock_guard lock(mutex_);
    failure = std::exchange(failure_, {});
    fill_end = std::exchange(fill_end_, {});
  }
  if (fill_end && filling_) settle_fill(env, *fill_end);
  if (!failure) return;
  const auto target = callbacks_.Value();
  target.Get("onFailure").As<Napi::Function>().Call(target, {Napi::String::New(env, *failure)});
}

void PageServerBinding::settle_fill(Napi::Env env, bool is_complete) {
  const auto deferred = *std::exchange(filling_, {});
  notifier_->keep_alive(env, false);
  deferred.Resolve(Napi::Boolean::New(env, is_complete));
}

void PageServerBinding::shut_down() {
  is_closed_ = true;
  server_.reset();
  external_.reset();
  options_ = {};
  image_.reset();
  memory_.reset();
  if (notifier_) notifier_->close();
}

}  // namespace tsvmm
