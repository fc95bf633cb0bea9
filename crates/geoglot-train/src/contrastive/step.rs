//! Loss and gradients of one batch: at once, in parts, on several devices.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use geoglot_nn::losses::{Direction, contrastive_loss};
use ndarray::{Array2, Axis};

use super::batches::{Batch, PretrainData, Ready};
use super::distill::Lesson;
use super::error::{PretrainError, Result};
use super::fit::Inputs;
use super::model::Student;
use super::objective::{pairs, sigmoid_loss};
use super::options::{Loss, PretrainOptions};

/// What a training works on.
pub(super) struct Setting<'a> {
    pub data: &'a PretrainData<'a>,
    pub inputs: &'a Inputs,
    pub lessons: &'a [Lesson<'a>],
    pub options: &'a PretrainOptions,
    /// Devices that share each step; the first holds the weights and the optimiser. All keep gradients.
    pub devices: &'a [Device],
    /// Threads that read images.
    pub readers: &'a rayon::ThreadPool,
}

/// The loss of a batch: weighted sum, the contrastive part and each teacher's (unweighted), and the gradients.
pub(super) struct Found {
    pub loss: f32,
    pub parts: Vec<f32>,
    pub gradients: GradientsParams,
}

/// The gradients of a device's parts of a batch, and the teachers' losses of each part.
struct Carried {
    gradients: GradientsParams,
    losses: Vec<Vec<f32>>,
}

impl Setting<'_> {
    /// The error that names a batch.
    pub fn diverged(
        &self,
        what: &'static str,
        value: f32,
        [epoch, number]: [usize; 2],
        batch: &Batch,
    ) -> PretrainError {
        const SHOWN: usize = 4;
        let modality = &self.data.modalities[batch.modality];
        let names = batch.items.iter().take(SHOWN).map(|&i| modality.images.path(i).display().to_string());
        let mut images = names.collect::<Vec<_>>().join(", ");
        if batch.items.len() > SHOWN {
            images += &format!(" and {} more", batch.items.len() - SHOWN);
        }
        PretrainError::Diverged { what, value, epoch, batch: number, images, modality: modality.name.clone() }
    }

    /// The contrastive loss of image vectors [B, D] against the batch's texts.
    fn contrastive(&self, student: &Student, vectors: Tensor<2>, batch: &Batch) -> Tensor<1> {
        let (options, device) = (self.options, &self.devices[0]);
        let texts = matrix(&self.data.texts.select(Axis(0), &batch.texts), device);
        let logits = student.contrast.logits(vectors, texts);
        match options.loss {
            Loss::Sigmoid => sigmoid_loss(logits, pairs(&batch.texts, options.targets, device)),
            Loss::Softmax => {
                let labels: Vec<i32> = batch.texts.iter().map(|&t| t as i32).collect();
                let labels = Tensor::<1, Int>::from_ints(labels.as_slice(), device);
                contrastive_loss(logits, labels, options.targets, Direction::Both)
            }
        }
    }

    /// Loss and gradients of a batch. In parts, which several devices share: GradCache (Gao et al. 2021). The loss couples the images through
    /// their vectors alone, so its gradient with respect to all vectors is computed first, and then carried back through the network part by
    /// part. The gradients of the devices are added in their order.
    pub fn gradients(&self, student: &Student, batch: &Batch, ready: Ready) -> Result<Found> {
        let wavelengths = &self.inputs.wavelengths[batch.modality];
        let (count, [c, h, w]) = (batch.items.len(), ready.shape);
        let lessons = self.lessons.iter().zip(ready.shown);
        let wanted = lessons
            .map(|(l, shown)| l.features(batch.modality, shown, &self.devices[0]))
            .collect::<Result<Vec<_>>>()?;
        let images = |first: usize, many: usize, device: &Device| {
            let values = ready.values[first * c * h * w..(first + many) * c * h * w].to_vec();
            Tensor::<4>::from_data(TensorData::new(values, [many, c, h, w]), device)
        };
        let chunk = self.options.chunk.unwrap_or(count).min(count.div_ceil(self.devices.len()));
        if chunk >= count {
            let (vectors, features) =
                student.look(images(0, count, &self.devices[0]), wavelengths, self.options.precision);
            let contrastive = self.contrastive(student, vectors, batch);
            let (mut total, mut parts) = (contrastive.clone(), vec![contrastive]);
            for ((lesson, wanted), student) in self.lessons.iter().zip(wanted).zip(features) {
                let loss = lesson.loss(student, wanted);
                total = total + loss.clone() * lesson.teacher.section.weight;
                parts.push(loss);
            }
            let loss = total.clone().into_scalar();
            let parts = parts.into_iter().map(Tensor::into_scalar).collect();
            let gradients = GradientsParams::from_grads(total.backward(), student);
            return Ok(Found { loss, parts, gradients });
        }
        let firsts: Vec<usize> = (0..count).step_by(chunk).collect();
        let shares: Vec<&[usize]> = firsts.chunks(firsts.len().div_ceil(self.devices.len())).collect();
        let copies: Vec<Student> = self.devices[1..].iter().map(|d| student.clone().fork(d)).collect();
        let workers: Vec<Worker<'_>> = std::iter::once(student)
            .chain(&copies)
            .zip(self.devices)
            .zip(shares)
            .map(|((student, device), firsts)| Worker { student, device, firsts })
            .collect();
        let many = |first: usize| chunk.min(count - first);

        let seen = on_all(&workers, |worker| {
            let (still, plain) =
                (worker.student.contrast.valid().computing(self.options.precision), worker.device.clone().inner());
            let part = |&f: &usize| still.embed(images(f, many(f), &plain), wavelengths);
            let vectors: Tensor<2> = Tensor::cat(worker.firsts.iter().map(part).collect(), 0);
            vectors.into_data().iter::<f32>().collect::<Vec<_>>()
        })
        .concat();
        let shape = [count, seen.len() / count];
        let vectors = Tensor::<2>::from_data(TensorData::new(seen, shape), &self.devices[0]).require_grad();
        let contrastive = self.contrastive(student, vectors.clone(), batch);
        let mut parts = vec![0.0; self.lessons.len() + 1];
        parts[0] = contrastive.clone().into_scalar();
        let backward = contrastive.backward();
        let towards = vectors.grad(&backward).expect("the loss depends on every vector").into_data();
        // Scale and bias of the loss.
        let mut sum = GradientsAccumulator::new();
        sum.accumulate(student, GradientsParams::from_grads(backward, student));

        let carried = on_all(&workers, |worker| {
            let Worker { student, device, firsts } = *worker;
            let (mut sum, mut losses) = (GradientsAccumulator::new(), Vec::new());
            let towards = Tensor::<2>::from_data(towards.clone(), device);
            for &first in firsts {
                let many = many(first);
                let (vectors, features) =
                    student.look(images(first, many, device), wavelengths, self.options.precision);
                let mut carried = (vectors * towards.clone().narrow(0, first, many)).sum();
                let mut own = Vec::new();
                for ((lesson, wanted), student) in self.lessons.iter().zip(&wanted).zip(features) {
                    let wanted = wanted.clone().narrow(0, first, many).to_device(device);
                    // A mean over images: each part counts by its share.
                    let loss = lesson.loss(student, wanted) * (many as f64 / count as f64);
                    own.push(loss.clone().into_scalar::<f32>());
                    carried = carried + loss * lesson.teacher.section.weight;
                }
                losses.push(own);
                sum.accumulate(student, GradientsParams::from_grads(carried.backward(), student));
            }
            Carried { gradients: sum.grads(), losses }
        });
        for Carried { gradients, losses } in carried {
            for own in losses {
                parts[1..].iter_mut().zip(own).for_each(|(sum, loss)| *sum += loss);
            }
            sum.accumulate(student, gradients.to_device(&self.devices[0].clone().inner(), student));
        }
        let weighted = self.lessons.iter().zip(&parts[1..]).map(|(l, part)| l.teacher.section.weight as f32 * part);
        Ok(Found { loss: parts[0] + weighted.sum::<f32>(), parts, gradients: sum.grads() })
    }
}

/// A device with its copy of the network and the first images of its parts.
struct Worker<'a> {
    student: &'a Student,
    device: &'a Device,
    firsts: &'a [usize],
}

/// Does `work` on every device at once, a thread each; the results in their order.
fn on_all<T: Send>(workers: &[Worker<'_>], work: impl Fn(&Worker<'_>) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let others: Vec<_> = workers[1..].iter().map(|worker| scope.spawn(move || work(worker))).collect();
        let first = work(&workers[0]);
        let joined = others.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(first).chain(joined).collect()
    })
}

fn matrix(values: &Array2<f32>, device: &Device) -> Tensor<2> {
    let shape = [values.nrows(), values.ncols()];
    Tensor::from_data(TensorData::new(values.iter().copied().collect::<Vec<_>>(), shape), device)
}
