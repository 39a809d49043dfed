"""What can go wrong at the officer's desk."""

from shared.errors import Conflict, Forbidden, Invalid, NotFound


class TaskNotFound(NotFound):
    code = "task.not-found"
    title_zh = "没有找到该任务"
    title_en = "There is no such task"


class TaskClaimedByOther(Conflict):
    code = "task.claimed-by-other"
    title_zh = "该任务已由其他工作人员领取"
    title_en = "Another officer has claimed this task"


class TaskNotClaimed(Conflict):
    code = "task.not-claimed"
    title_zh = "请先领取该任务"
    title_en = "Claim the task first"


class TaskFinished(Conflict):
    code = "task.finished"
    title_zh = "该任务已办结"
    title_en = "This task is finished already"


class DecisionNotAllowed(Invalid):
    code = "decision.not-allowed"
    title_zh = "该环节不能作出此决定"
    title_en = "This step cannot end with this outcome"


class ReasonMissing(Invalid):
    code = "decision.reason-missing"
    title_zh = "不予许可必须说明理由"
    title_en = "A refusal needs its reasons"


class OwnCase(Forbidden):
    code = "decision.own-case"
    title_zh = "不得办理与本人有利害关系的申请"
    title_en = "An officer may not handle an application that concerns themselves"


class OfficerNotLinked(Forbidden):
    code = "decision.officer-not-linked"
    title_zh = "您的账号未关联本人身份，无法核实是否应当回避"
    title_en = "Nobody knows which person your account is, so nobody can say whether the case is your own"


class NotSupervisor(Forbidden):
    code = "task.not-supervisor"
    title_zh = "只有本部门的负责人可以调整任务"
    title_en = "Only a supervisor of this department may take a task from somebody or give it to them"


class AssignmentReasonMissing(Invalid):
    code = "task.reason-missing"
    title_zh = "调整任务必须说明理由"
    title_en = "Taking a task from somebody, or giving it to them, needs its reasons"


class ColleagueWrong(Invalid):
    code = "task.colleague-wrong"
    title_zh = "该工作人员不能办理此任务"
    title_en = "This officer cannot handle the task"


class MaterialMissing(Conflict):
    """A holder took their consent back; what was asked for instead has not come."""

    code = "decision.material-missing"
    title_zh = "持证人已撤回同意，材料尚未补齐，不能准予"
    title_en = "A consent was taken back and what was asked for instead is missing: nothing can be approved"


class CertificateLost(Conflict):
    code = "decision.certificate-lost"
    title_zh = "有证照在决定当日已失效，不能据此准予"
    title_en = "A certificate is no longer valid today; nothing can be approved on it"
