// The Python side: a queue of cells, longest first as they come, and threads that each train one cell to its end.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "block_device.h"
#include "builds.h"
#include "task.h"

namespace nb = nanobind;
typedef nb::ndarray<const double, nb::c_contig, nb::device::cpu> Numbers;
typedef nb::ndarray<const unsigned, nb::ndim<1>, nb::c_contig, nb::device::cpu> Words;

namespace {

typedef bool (*Train)(void*, const bool*, const bool*, int*);
typedef std::chrono::steady_clock Clock;

// Waking a thread takes as long as preparing a small cell: while cells come fast, it is done no more often than this.
constexpr double WAKE_EVERY_S = 1e-3;

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

bool runs_here(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
  if (isa == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == "portable";
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
  for (const char* isa : {"avx512", "avx2", "portable"})
    if (runs_here(isa)) found.push_back(isa);
  return found;
}

void check_runs_here(const std::string& isa) {
  if (!runs_here(isa)) throw std::invalid_argument("this processor has no " + isa);
}

Train train_of(const std::string& isa) {
  check_runs_here(isa);
#if defined(__x86_64__)
  if (isa == "avx512") return memcap_train_avx512;
  if (isa == "avx2") return memcap_train_avx2;
#endif
  return memcap_train_portable;
}

double multiply_adds(const std::string& isa, bool is_double, long long rounds) {
  check_runs_here(isa);
#if defined(__x86_64__)
  if (isa == "avx512") return memcap_multiply_adds_avx512(is_double, rounds);
  if (isa == "avx2") return memcap_multiply_adds_avx2(is_double, rounds);
#endif
  return memcap_multiply_adds_portable(is_double, rounds);
}

auto elementary_of(const std::string& isa) {
  check_runs_here(isa);
#if defined(__x86_64__)
  if (isa == "avx512") return memcap_elementary_avx512;
  if (isa == "avx2") return memcap_elementary_avx2;
#endif
  return memcap_elementary_portable;
}

auto normals_of(const std::string& isa) {
  check_runs_here(isa);
#if defined(__x86_64__)
  if (isa == "avx512") return memcap_normals_avx512;
  if (isa == "avx2") return memcap_normals_avx2;
#endif
  return memcap_normals_portable;
}

// The bytes of a struct of bench.engines.task.
template <class Struct> Struct as_struct(const nb::bytes& bytes) {
  if (bytes.size() != sizeof(Struct)) throw std::invalid_argument("not the bytes of a struct of this build");
  Struct made;
  std::memcpy(&made, bytes.data(), sizeof made);
  return made;
}

nb::bytes as_bytes(const std::vector<double>& numbers) { return nb::bytes((const char*)numbers.data(), numbers.size() * sizeof(double)); }

// Bytes of exp(x) and of ln(1 + x) as a build computes them.
nb::tuple elementary(const std::string& isa, bool is_double, const Numbers& x) {
  std::vector<double> exps(x.size()), logs(x.size());
  elementary_of(isa)(is_double, x.data(), exps.data(), logs.data(), (long long)x.size());
  return nb::make_tuple(as_bytes(exps), as_bytes(logs));
}

// Bytes of the pairs of normal numbers of float32 that a build makes of words for their radius and their turn.
nb::tuple normals(const std::string& isa, const Words& radius, const Words& turn) {
  if (radius.size() != turn.size()) throw std::invalid_argument("not as many words for the radius as for the turn");
  std::vector<float> cosines(radius.size()), sines(radius.size());
  normals_of(isa)(radius.data(), turn.data(), cosines.data(), sines.data(), (long long)radius.size());
  const size_t bytes = radius.size() * sizeof(float);
  return nb::make_tuple(nb::bytes((const char*)cosines.data(), bytes), nb::bytes((const char*)sines.data(), bytes));
}

nb::tuple block_measure(int dtype, int block, int rows, bool tensor_cores, nb::bytes spec) {
  const auto c = as_struct<fused::Spec>(spec);
  long long sizes[3];
  memcap_block_measure(dtype, block, rows, tensor_cores, &c, sizes);
  return nb::make_tuple(sizes[0], sizes[1], sizes[2]);
}

void block_train(int dtype, int block, int rows, bool tensor_cores, size_t tasks,
                 nb::ndarray<const int, nb::c_contig, nb::device::cpu> order, int teams, int team, int threads, int epochs,
                 long long scratch_bytes, bool descending) {
  const nb::gil_scoped_release release;
  memcap_block_train(dtype, block, rows, tensor_cores, (void*)tasks, order.data(), (int)order.size(), teams, team, threads, epochs,
                     scratch_bytes, descending);
}

std::vector<double> copied(const Numbers& numbers) { return {numbers.data(), numbers.data() + numbers.size()}; }

// A task with the memory that it points into.
struct Job {
  long id;
  fused::Task task{};
  bool gives_params = false;
  std::vector<double> params, inputs, targets, val_inputs, val_targets, rates, tau, val_mse, recalled, predictions, saved;
  int epochs_done = 0;
  int epochs_reported = 0;
  bool ok = false;
  double time_s = 0;
  // Of pauses: whether one is wanted, since when none was, whether what was saved waits to be taken and how far it is, and the measures
  // and seconds that were taken with earlier ones.
  bool pause = false;
  Clock::time_point since;
  bool is_saved = false;
  fused::Progress at_pause;
  double time_at_pause_s = 0;
  size_t measures_taken = 0;
  double time_taken_s = 0;

  // All memory but the core's own, before a thread has the job.
  void prepare() {
    task.first = task.progress.epoch;
    const size_t epochs = (size_t)(task.spec.max_epochs + 1 - task.first);
    tau.resize(epochs);
    val_mse.resize(task.spec.n_val ? epochs : 0);
    recalled.resize(task.spec.loss == fused::CROSS_ENTROPY ? epochs : 0);
    predictions.resize((size_t)task.n_predictions * (size_t)task.spec.n_outputs);
    task.params = params.data();
    task.inputs = inputs.data();
    task.targets = targets.data();
    task.val_inputs = val_inputs.data();
    task.val_targets = val_targets.data();
    task.rates = rates.data();
    task.n_rates = (int)rates.size();
    task.room = (int)epochs;
    task.tau = tau.data();
    task.val_mse = val_mse.data();
    task.recalled = recalled.data();
    task.predictions = predictions.data();
    task.saved = saved.data();
  }

  // To its end. `mutex` is that of whoever takes what was saved.
  void run(Train train, const bool* stop, std::mutex& mutex) {
    const auto started = Clock::now();
    for (;;) {
      ok = train(&task, stop, &pause, &epochs_done);
      time_s = seconds_since(started);
      if (!ok || task.progress.state != fused::PAUSED) return;
      const std::lock_guard<std::mutex> lock(mutex);
      at_pause = task.progress;
      time_at_pause_s = time_s;
      is_saved = true;
      __atomic_store_n(&pause, false, __ATOMIC_RELAXED);
      since = Clock::now();
    }
  }

  size_t n_saved(size_t n_params) const { return (task.spec.optimizer == fused::SGD ? 2 : task.spec.amsgrad ? 4 : 3) * n_params; }

  // Let it pause soon, with room for what is then saved; where there is none it trains on.
  void want_pause() {
    try {
      saved.resize(n_saved(params.size()));
    } catch (const std::bad_alloc&) {
      return;
    }
    task.saved = saved.data();
    __atomic_store_n(&pause, true, __ATOMIC_RELEASE);
  }

  // What was saved: (id, progress, seconds, tau, val_mse, recalled, parameters and moments), the measures and seconds since it was
  // taken before.
  nb::tuple take() {
    const nb::bytes progress((const char*)&at_pause, sizeof at_pause);
    const size_t until = (size_t)(at_pause.epoch - task.first);
    const nb::tuple taken = nb::make_tuple(id, progress, time_at_pause_s - time_taken_s, rest(tau, until), rest(val_mse, until),
                                           rest(recalled, until), as_bytes(saved));
    measures_taken = until;
    time_taken_s = time_at_pause_s;
    is_saved = false;
    task.saved = nullptr;
    std::vector<double>().swap(saved);
    return taken;
  }

  // Measures of so many epochs, without those that were taken; all of validation are none without validation samples, nor are there
  // labels recalled of targets that are none.
  std::vector<double> rest(const std::vector<double>& measures, size_t until) const {
    if (measures.empty()) return {};
    return {measures.begin() + (long)measures_taken, measures.begin() + (long)until};
  }
};

class Queue {
 public:
  Queue(int threads, const std::string& isa) : train_(train_of(isa)) {
    try {
      for (int i = 0; i < threads; i++) threads_.emplace_back([this] { work(); });
    } catch (...) {
      close();
      throw;
    }
  }
  ~Queue() { close(); }

  // Cells are trained in the order in which they are given. One that was saved goes on from its `progress` and what was `saved`; those of
  // others are empty.
  void push(long id, nb::bytes spec, int n_predictions, bool gives_params, Numbers params, Numbers inputs, Numbers targets,
            Numbers val_inputs, Numbers val_targets, Numbers rates, nb::bytes progress, Numbers saved) {
    auto job = std::make_unique<Job>();
    job->id = id;
    job->task.spec = as_struct<fused::Spec>(spec);
    if (progress.size()) {
      job->task.progress = as_struct<fused::Progress>(progress);
      job->task.progress.state = fused::SAVED;
      job->saved = copied(saved);
      if (job->saved.size() != job->n_saved(params.size())) throw std::invalid_argument("not what was saved of such a cell");
    }
    job->task.n_predictions = n_predictions;
    job->gives_params = gives_params;
    job->params = copied(params);
    job->inputs = copied(inputs);
    job->targets = copied(targets);
    job->val_inputs = copied(val_inputs);
    job->val_targets = copied(val_targets);
    job->rates = copied(rates);
    job->prepare();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(job));
    }
    if (seconds_since(woken_) < WAKE_EVERY_S) return;  // The next call of push or poll wakes.
    woken_ = Clock::now();
    changed_.notify_one();
  }

  // Waits up to timeout_s for a cell to end. Returns (ended, progress, saved): for every ended cell (id, ok, last epoch, seconds, tau,
  // val_mse, recalled, predictions, final parameters if asked for), for every running or ended cell (id, epochs since the last call), and what
  // `Job::take` gives of those saved, each at its next epoch when it has trained so long. Of these an ended one gives what is left.
  nb::tuple poll(double timeout_s, double save_every_s) {
    std::vector<std::unique_ptr<Job>> done;
    nb::list ended, progress, saved;
    changed_.notify_all();
    {
      nb::gil_scoped_release release;
      std::unique_lock<std::mutex> lock(mutex_);
      finished_.wait_for(lock, std::chrono::duration<double>(timeout_s), [this] { return !done_.empty(); });
      done.swap(done_);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Job* job : running_) {
        report(*job, progress);
        if (job->is_saved) saved.append(job->take());
        else if (!job->pause && seconds_since(job->since) >= save_every_s) job->want_pause();
      }
    }
    for (auto& job : done) {
      report(*job, progress);
      const size_t until = job->ok ? (size_t)(job->task.progress.epoch + 1 - job->task.first) : job->measures_taken;
      if (!job->gives_params) job->params.clear();
      ended.append(nb::make_tuple(job->id, job->ok, job->task.progress.epoch, job->time_s - job->time_taken_s, job->rest(job->tau, until),
                                  job->rest(job->val_mse, until), job->rest(job->recalled, until), job->predictions, job->params));
    }
    return nb::make_tuple(ended, progress, saved);
  }

  // Cells that wait are dropped, those that train stop at their next epoch.
  void close() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      __atomic_store_n(&stop_, true, __ATOMIC_RELAXED);
      waiting_.clear();
    }
    changed_.notify_all();
    {
      nb::gil_scoped_release release;
      for (auto& thread : threads_) thread.join();
    }
    threads_.clear();
  }

 private:
  Train train_;
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_, finished_;
  Clock::time_point woken_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::vector<Job*> running_;
  std::vector<std::unique_ptr<Job>> done_;
  std::vector<std::thread> threads_;

  static void report(Job& job, nb::list& progress) {
    const int epochs = __atomic_load_n(&job.epochs_done, __ATOMIC_RELAXED);
    if (epochs > job.epochs_reported) progress.append(nb::make_tuple(job.id, epochs - job.epochs_reported));
    job.epochs_reported = epochs;
  }

  void work() {
    for (;;) {
      std::unique_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
        if (stop_) return;
        job = std::move(waiting_.front());
        waiting_.pop_front();
        job->since = Clock::now();
        running_.push_back(job.get());
      }
      job->run(train_, &stop_, mutex_);
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (size_t i = 0; i < running_.size(); i++)
          if (running_[i] == job.get()) running_.erase(running_.begin() + i);
        if (job->task.progress.state != fused::STOPPED) done_.push_back(std::move(job));
      }
      finished_.notify_one();
    }
  }
};

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The fused training core on CPU threads; driven by bench.engines.native_engine.";
  m.def("instruction_sets", &instruction_sets, "The builds of the core that this processor can run, the fastest first.");
  m.def("multiply_adds", &multiply_adds, nb::call_guard<nb::gil_scoped_release>());
  m.def("elementary", &elementary);
  m.def("normals", &normals);
  m.def("block_measure", &block_measure);
  m.def("block_train", &block_train);
  m.attr("task_bytes") = sizeof(fused::Task);
  nb::class_<Queue>(m, "Queue")
      .def(nb::init<int, const std::string&>())
      .def("push", &Queue::push)
      .def("poll", &Queue::poll)
      .def("close", &Queue::close);
}
