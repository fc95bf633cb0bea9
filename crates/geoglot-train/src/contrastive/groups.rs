//! AdamW whose rate and decay differ by the parameters' names.

use burn::module::{Module, ModuleMapper, Param, ParamGroup, ParamId};
use burn::optim::{AdamState, LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use geoglot_nn::ops::adam::{FusedAdam, FusedAdamConfig};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::error::{PretrainError, Result};
use super::model::{Names, Student};
use super::options::PretrainOptions;

/// Parameters that are trained otherwise: a `[[train.group]]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Regular expression on the names: the tower's as in `model.safetensors`, `logit_scale`, `logit_bias`, `heads.TEACHER.…`.
    pub names: String,
    /// Factor on the learning rate; 0 freezes, and then no gradients are computed or stored.
    #[serde(default = "one")]
    pub rate: f64,
    /// Decay instead of `train.weight_decay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// An optimiser whose rate is a multiple of the schedule's.
#[derive(Clone, Debug)]
struct Scaled {
    adamw: FusedAdam,
    factor: f64,
}

impl Optimizer for Scaled {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.adamw.step(rate * self.factor, tensor, gradient, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        FusedAdam::to_device(state, device)
    }
}

/// The optimiser of `student`, and the student with frozen parameters marked. `teachers` are the heads' names. Of several groups that match a
/// parameter the last holds.
pub(super) fn optimizer(
    student: Student,
    teachers: &[&str],
    options: &PretrainOptions,
) -> Result<(Student, ModuleOptimizer)> {
    let config = FusedAdamConfig::new()
        .with_beta_1(options.betas[0])
        .with_beta_2(options.betas[1])
        .with_epsilon(options.epsilon);
    // Only parameters of two or more axes decay, which spares biases, norms, scale and bias of the loss.
    let adamw = |factor: f64, decay: f64| Scaled { adamw: config.clone().with_decoupled_decay(decay).build(), factor };
    let mut optimizer = ModuleOptimizer::from(adamw(1.0, options.weight_decay));
    let names = names(&student, teachers);
    let mut frozen: Vec<ParamId> = Vec::new();
    for group in &options.group {
        let wrong = |problem: String| PretrainError::Input(format!("train.group `{}`: {problem}", group.names));
        let pattern = Regex::new(&group.names).map_err(|e| wrong(e.to_string()))?;
        let ids: Vec<ParamId> = names.iter().filter(|n| pattern.is_match(&n.1)).map(|n| n.0).collect();
        if ids.is_empty() {
            let examples: Vec<&str> = names.iter().step_by(names.len().div_ceil(6)).map(|n| n.1.as_str()).collect();
            return Err(wrong(format!("no parameter has such a name; there are {}, …", examples.join(", "))));
        }
        frozen.retain(|id| !ids.contains(id));
        if group.rate == 0.0 {
            frozen.extend(&ids);
        }
        let decay = group.weight_decay.unwrap_or(options.weight_decay);
        optimizer = optimizer.with_group(ParamGroup::from_ids(ids), adamw(group.rate, decay), None);
    }
    if frozen.len() == names.len() {
        return Err(PretrainError::Input("train.group: every parameter is frozen; nothing would be trained".into()));
    }
    let student = if frozen.is_empty() { student } else { student.map(&mut Freeze(&frozen)) };
    Ok((student, optimizer))
}

/// Ids and names of all parameters.
fn names(student: &Student, teachers: &[&str]) -> Vec<(ParamId, String)> {
    let mut collect = Names::default();
    student.visit(&mut collect);
    let rename = |name: String| match name.strip_prefix("heads.") {
        Some(rest) => {
            let (number, layer) = rest.split_once('.').unwrap_or((rest, ""));
            let teacher = number.parse().ok().and_then(|k: usize| teachers.get(k)).copied().unwrap_or(number);
            format!("heads.{teacher}.{layer}")
        }
        None => match name.as_str() {
            "contrast.temperature.tau" => "logit_scale".into(),
            "contrast.bias" => "logit_bias".into(),
            other => other.strip_prefix("contrast.vit.").unwrap_or(other).to_owned(),
        },
    };
    collect.found.into_iter().map(|(id, name)| (id, rename(name))).collect()
}

struct Freeze<'a>(&'a [ParamId]);

impl ModuleMapper for Freeze<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.0.contains(&param.id) {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, tensor.set_require_grad(false), mapper)
    }
}
