"""What can go wrong in running the installation: what happened, why, and what to do next."""

from shared.errors import AppError, Conflict, NotFound, Unavailable


class NotInstalled(Unavailable):
    """A program that this needs is not on the machine."""

    code = "deploy.not-installed"
    title_zh = "缺少所需程序"
    title_en = "A program that this needs is not installed"


class NotStarted(Unavailable):
    """A server did not come up; the last lines it printed are in the detail."""

    code = "deploy.not-started"
    title_zh = "服务未能启动"
    title_en = "A server did not start"


class AlreadyRunning(Conflict):
    """Another process works on the same data."""

    code = "deploy.already-running"
    title_zh = "同一数据目录上已有进程在运行"
    title_en = "Another process runs on the same data"


class PortTaken(Conflict):
    """Somebody else listens on the port that was asked for."""

    code = "deploy.port-taken"
    title_zh = "端口已被占用"
    title_en = "The port is taken"


class SharedProcess(AppError):
    """There are walls between processes only: whoever breaks into one has all services in it."""

    code = "settings.shared-process"
    status = 500
    title_zh = "生产环境中各服务不得共用一个进程"
    title_en = "In production each service has a process of its own"


class NoWitnessDir(AppError):
    """Without a witness nobody notices that a database was brought back from an older copy."""

    code = "settings.no-witness-dir"
    status = 500
    title_zh = "未设置 ONESTOP_WITNESS_DIR"
    title_en = "ONESTOP_WITNESS_DIR is not set"


class CodesWithoutChannel(AppError):
    """One-time codes are switched on for a kind of contact that no channel of notify reaches."""

    code = "settings.codes-without-channel"
    status = 500
    title_zh = "已启用验证码，但没有可发送的渠道"
    title_en = "One-time codes are on, and no channel sends them"


class OtherVersion(Conflict):
    """The data on disk were written by another major version of PostgreSQL."""

    code = "deploy.other-postgres-version"
    title_zh = "数据由其他版本的 PostgreSQL 写入"
    title_en = "The data were written by another version of PostgreSQL"


class MadeByAnotherBuild(Conflict):
    """The data on disk were made by migrations that this build does not have."""

    code = "deploy.made-by-another-build"
    title_zh = "数据由另一版本的迁移脚本建立"
    title_en = "The data were made by another build's migrations"


class NothingRuns(NotFound):
    """There is no supervisor on this data directory."""

    code = "deploy.nothing-runs"
    title_zh = "没有正在运行的进程"
    title_en = "Nothing runs here"


class SubscriberExists(Conflict):
    """A foreign subscriber of that name is registered."""

    code = "deploy.subscriber-exists"
    title_zh = "该订阅方已登记"
    title_en = "A subscriber of that name is registered"


class SubscriberUnknown(NotFound):
    """No foreign subscriber of that name is registered."""

    code = "deploy.subscriber-unknown"
    title_zh = "没有这个订阅方"
    title_en = "No subscriber of that name is registered"


class SeveralRun(Conflict):
    """Nobody said which of several installations is meant."""

    code = "deploy.several-run"
    title_zh = "有多个安装在运行"
    title_en = "Several installations run"


class TokensStillGood(Conflict):
    """Log-ins that a key signed have not all ended."""

    code = "deploy.tokens-still-good"
    title_zh = "旧密钥签发的登录尚未全部到期"
    title_en = "Log-ins that the old key signed are still good"


class PlaceUnusable(AppError):
    """A directory cannot hold what must go there."""

    code = "deploy.place-unusable"
    status = 500
    title_zh = "目录不可用"
    title_en = "A directory cannot be used"
