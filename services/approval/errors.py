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


class CertificateLost(Conflict):
    code = "decision.certificate-lost"
    title_zh = "有证照在决定当日已失效，不能据此准予"
    title_en = "A certificate is no longer valid today; nothing can be approved on it"
