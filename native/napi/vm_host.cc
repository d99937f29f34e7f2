#include "napi/vm_host.h"

#include <algorithm>
#include <array>

#include "napi/addon_data.h"
#include "napi/exceptions.h"

namespace tsvmm {

namespace {

// vCPU threads must be gone before the environment is: they would call into it.
void close_at_exit(void* host) { static_cast<VmHost*>(host)->close(); }

const char* name_of(VcpuStop::Kind kind) {
  switch (kind) {
    case VcpuStop::Kind::kShutdown:
      return "shutdown";
    case VcpuStop::Kind::kInternalError:
      return "internal-error";
    case VcpuStop::Kind::kFailEntry:
      return "fail-entry";
    case VcpuStop::Kind::kSystemEvent:
      return "system-event";
    case VcpuStop::Kind::kRunError:
      return "run-error";
    case VcpuStop::Kind::kUnhandled:
      return "unhandled";
  }
  return "unhandled";
}

size_t xsave_size_of(const Vm& vm) {
#if defined(__x86_64__)
  return static_cast<size_t>(vm.check_extension(KVM_CAP_XSAVE2));
#else
  return vm.fd() < 0 ? 1 : 0;
#endif
}

}  // namespace

VmHost::VmHost(Napi::Env env, Vm vm, size_t vcpu_mapping_size)
    : env_(env),
      vm_(std::make_unique<Vm>(std::move(vm))),
      vcpu_mapping_size_(vcpu_mapping_size),
      xsave_size_(xsave_size_of(*vm_)),
      notifier_(std::make_unique<Notifier>(env, "tsvmm-vm", [this](Napi::Env) { serve(); })),
      channel_(std::make_unique<TrapChannel>([notifier = notifier_.get()] { return notifier->notify(); })) {
  napi_add_env_cleanup_hook(env, close_at_exit, this);
}

VmHost::~VmHost() { close(); }

void VmHost::set_handlers(Napi::Object handlers, Napi::Function on_error) {
  handlers_ = Napi::Persistent(handlers);
  const auto take = [&](const char* name) { return Napi::Persistent(handlers.Get(name).As<Napi::Function>()); };
  read_ = take("read");
  write_ = take("write");
  end_of_interrupt_ = take("endOfInterrupt");
  stopped_ = take("stopped");
  on_error_ = Napi::Persistent(on_error);
  set_timeout_ = Napi::Persistent(env_.Global().Get("setTimeout").As<Napi::Function>());
  come_back_ = Napi::Persistent(Napi::Function::New(env_, [self = self_](const Napi::CallbackInfo&) {
    if (*self == nullptr) return;
    (*self)->serving_later_ = false;
    (*self)->serve();
  }));
}

Result<size_t> VmHost::create_vcpu(uint32_t id) {
  auto fd = vm_->create_vcpu(id);
  if (!fd) return fd.failure();
  auto run = RunMapping::create(fd.value().get(), vcpu_mapping_size_);
  if (!run) return run.failure();
  auto entry = std::make_unique<VcpuEntry>(channel_->add_port());
  entry->vcpu = std::make_unique<Vcpu>(std::move(fd).value(), std::move(run).value(), entry->port, spaces_,
                                       [notifier = notifier_.get()] { notifier->notify(); });
  vcpus_.push_back(std::move(entry));
  return vcpus_.size() - 1;
}

Result<> VmHost::run(size_t index, const std::string& thread_name) {
  notifier_->keep_alive(env_, true);
  return vcpu(index).vcpu->run(thread_name);
}

Napi::Value VmHost::park(size_t index) {
  auto& entry = vcpu(index);
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env_, &deferred, &promise) != napi_ok) return env_.Undefined();
  entry.parking.push_back(deferred);
  entry.vcpu->request_park();
  // Settled from the event loop, never here: this may be a handler's own call, with writes posted before it still to be
  // delivered.
  notifier_->keep_alive(env_, true);
  notifier_->notify();
  return Napi::Value(env_, promise);
}

void VmHost::keep_bytes(const std::shared_ptr<Window>& window, Napi::ObjectReference bytes) {
  std::erase_if(kept_, [](const KeptBytes& kept) { return kept.window.expired(); });
  kept_.push_back({window, std::move(bytes)});
}

void VmHost::serve() {
  // Handlers may close the VM. The host itself stays: finalizers run in a turn of their own.
  channel_->serve(*this);
  if (!closed_ && channel_->is_collecting()) serve_later();
  if (!closed_) settle();
}

void VmHost::serve_later() {
  if (serving_later_) return;
  // Raw calls: where the environment is being terminated they fail, and the C++ wrapper would be fatal for it.
  const std::array<napi_value, 2> arguments{come_back_.Value(), Napi::Number::New(env_, TrapChannel::kCollectMs)};
  napi_value timer = nullptr;
  const auto status =
      napi_call_function(env_, env_.Undefined(), set_timeout_.Value(), arguments.size(), arguments.data(), &timer);
  serving_later_ = status == napi_ok;
  if (serving_later_) return;
  report_uncaught(env_);
  notifier_->notify();
}

void VmHost::settle() {
  std::vector<size_t> parked;
  for (size_t index = 0; index < vcpus_.size(); ++index) {
    if (vcpus_[index]->vcpu->is_parked()) parked.push_back(index);
  }
  // What they posted on their way to being parked comes before the news of it.
  channel_->deliver_pending(*this);
  for (const auto index : parked) {
    if (closed_) return;
    if (const auto stop = vcpus_[index]->vcpu->take_stop()) deliver_stop(index, *stop);
  }
  if (closed_) return;
  for (const auto index : parked) resolve_parking(*vcpus_[index]);
  const auto is_idle = [](const auto& entry) { return entry->parking.empty() && entry->vcpu->is_parked(); };
  if (std::ranges::all_of(vcpus_, is_idle)) notifier_->keep_alive(env_, false);
}

void VmHost::resolve_parking(VcpuEntry& entry) {
  // Where the environment is being torn down this fails, and nobody is left to hear of it.
  for (auto* deferred : std::exchange(entry.parking, {})) napi_resolve_deferred(env_, deferred, env_.Undefined());
}

void VmHost::deliver_stop(size_t index, const VcpuStop& stop) {
  // Raw calls, as above.
  napi_value detail = nullptr;
  napi_create_array_with_length(env_, stop.detail.size(), &detail);
  for (uint32_t number = 0; number < stop.detail.size(); ++number) {
    napi_set_element(env_, detail, number, Napi::Number::New(env_, static_cast<double>(stop.detail[number])));
  }
  napi_value object = nullptr;
  napi_create_object(env_, &object);
  napi_set_named_property(env_, object, "kind", Napi::String::New(env_, name_of(stop.kind)));
  napi_set_named_property(env_, object, "detail", detail);
  bool ok = true;
  call(stopped_, {Napi::Number::New(env_, static_cast<double>(index)), object}, ok);
}

uint32_t VmHost::trap(const TrapRequest& request, bool& ok) {
  if (closed_ || failed_) return UINT32_MAX;
  Napi::HandleScope scope(env_);
  const auto number = [this](uint32_t value) { return Napi::Number::New(env_, value); };
  switch (request.kind) {
    case TrapRequest::Kind::kRead: {
      const auto value = call(read_, {number(request.window), number(request.offset), number(request.width)}, ok);
      // JavaScript's ToUint32 takes any number; anything else is a handler's mistake and reads as zero.
      return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : 0;
    }
    case TrapRequest::Kind::kWrite:
      call(write_, {number(request.window), number(request.offset), number(request.width), number(request.value)}, ok);
      return 0;
    case TrapRequest::Kind::kEndOfInterrupt:
      call(end_of_interrupt_, {number(request.window)}, ok);
      return 0;
  }
  return 0;
}

void VmHost::posted(const PostedWrite& write, bool& ok) {
  if (closed_ || failed_) return;
  Napi::HandleScope scope(env_);
  const auto number = [this](uint32_t value) { return Napi::Number::New(env_, value); };
  call(write_, {number(write.window), number(write.offset), number(write.width), number(write.value)}, ok);
}

Napi::Value VmHost::call(const Napi::FunctionReference& handler, const std::initializer_list<napi_value>& arguments,
                         bool& ok) {
  napi_value result = nullptr;
  const auto status =
      napi_call_function(env_, handlers_.Value(), handler.Value(), arguments.size(), arguments.begin(), &result);
  if (status == napi_ok) return Napi::Value(env_, result);
  ok = false;
  fail();
  return env_.Undefined();
}

void VmHost::fail() {
  const auto error = take_exception(env_);
  const bool is_first = !failed_ && !closed_;
  failed_ = true;
  if (is_first) {
    for (const auto& entry : vcpus_) entry->vcpu->request_park();
  }
  // Nothing was thrown: the environment is being terminated.
  if (error == nullptr) return;
  if (!is_first) {
    napi_fatal_exception(env_, error);
    return;
  }
  napi_value result = nullptr;
  if (napi_call_function(env_, env_.Undefined(), on_error_.Value(), 1, &error, &result) != napi_ok) {
    report_uncaught(env_);
  }
}

void VmHost::close() {
  if (std::exchange(closed_, true)) return;
  *self_ = nullptr;
  napi_remove_env_cleanup_hook(env_, close_at_exit, this);
  channel_->shut();
  for (const auto& entry : vcpus_) entry->vcpu.reset();
  notifier_->close();
  Napi::HandleScope scope(env_);
  for (const auto& entry : vcpus_) resolve_parking(*entry);
  vm_.reset();
  kept_.clear();
  for (auto* handler : {&read_, &write_, &end_of_interrupt_, &stopped_, &on_error_, &set_timeout_, &come_back_})
    handler->Reset();
  handlers_.Reset();
}

}  // namespace tsvmm
